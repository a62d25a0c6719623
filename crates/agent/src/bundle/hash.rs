//! The two names by content: of a tree, and of an object (the content of a file).

use std::fmt::{self, Debug, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names a tree: blake3 of its manifest's bytes. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeHash(pub [u8; 32]);

/// Names the content of a file: its blake3. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectHash(pub [u8; 32]);

/// A text that is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAHash;

impl Display for NotAHash {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("a hash is 64 hexadecimal digits, in small letters")
    }
}

impl std::error::Error for NotAHash {}

impl TreeHash {
    /// The hash of these bytes, as those of a manifest.
    #[must_use]
    pub fn of(bytes: &[u8]) -> TreeHash {
        TreeHash(*blake3::hash(bytes).as_bytes())
    }

    /// The first 12 digits: what people are shown.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl ObjectHash {
    /// The hash of these bytes, as those of a file.
    #[must_use]
    pub fn of(bytes: &[u8]) -> ObjectHash {
        ObjectHash(*blake3::hash(bytes).as_bytes())
    }

    /// The object without any bytes, which is kept and sent nowhere, since everybody has it.
    pub const EMPTY: ObjectHash = ObjectHash([
        0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6, 0xa0, 0x40, 0x4d, 0xea, 0x36, 0xdc, 0xc9,
        0x49, 0x9b, 0xcb, 0x25, 0xc9, 0xad, 0xc1, 0x12, 0xb7, 0xcc, 0x9a, 0x93, 0xca, 0xe4, 0x1f,
        0x32, 0x62,
    ]);
}

fn write(bytes: &[u8; 32], formatter: &mut Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    formatter.write_str(std::str::from_utf8(&text).unwrap_or_default())
}

fn read(text: &str) -> Result<[u8; 32], NotAHash> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(NotAHash),
    };
    let text = text.as_bytes();
    if text.len() != 64 {
        return Err(NotAHash);
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

macro_rules! as_text {
    ($name:ident) => {
        impl Display for $name {
            fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
                write(&self.0, formatter)
            }
        }

        impl Debug for $name {
            fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
                write(&self.0, formatter)
            }
        }

        impl FromStr for $name {
            type Err = NotAHash;

            fn from_str(text: &str) -> Result<$name, NotAHash> {
                read(text).map($name)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(TreeHash);
as_text!(ObjectHash);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_text() {
        assert_eq!(ObjectHash::of(b""), ObjectHash::EMPTY);
        let hash = TreeHash::of(b"tree");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.short(), hash.to_string()[..12]);
        let text = serde_json::to_string(&hash).unwrap();
        assert_eq!(text, format!("\"{hash}\""));
        assert_eq!(serde_json::from_str::<TreeHash>(&text).unwrap(), hash);
        let upper = hash.to_string().to_uppercase();
        for wrong in ["", "ab", &upper, &format!("{hash}0"), "g"] {
            assert_eq!(wrong.parse::<TreeHash>(), Err(NotAHash), "{wrong}");
        }
    }
}
