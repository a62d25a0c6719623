//! How contents are cut into blocks: by their sizes in the manifest's order alone, so that one tree is always cut alike.

use std::ops::Range;

use mizzen_agent::bundle::BLOCK;

/// Contents that are compressed together, or one that is cut into pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cut {
    /// Small ones, one after the other, in one block.
    Together(Range<usize>),
    /// A large one, in blocks of its own.
    Pieces(usize),
}

/// Whether a content of this size gets blocks of its own.
pub(super) fn is_large(size: u64) -> bool {
    size >= BLOCK as u64
}

/// How many pieces a large content has.
pub(super) fn pieces(size: u64) -> usize {
    usize::try_from(size.div_ceil(BLOCK as u64)).unwrap_or(usize::MAX)
}

/// Cuts contents of these sizes.
pub(super) fn cut(sizes: impl Iterator<Item = u64>) -> Vec<Cut> {
    let mut cuts = Vec::new();
    let (mut from, mut together, mut count) = (0, 0, 0);
    for (number, size) in sizes.enumerate() {
        if (is_large(size) || together + size > BLOCK as u64) && from < number {
            cuts.push(Cut::Together(from..number));
            (from, together) = (number, 0);
        }
        if is_large(size) {
            cuts.push(Cut::Pieces(number));
            from = number + 1;
        } else {
            together += size;
        }
        count = number + 1;
    }
    if from < count {
        cuts.push(Cut::Together(from..count));
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_full_or_of_one_content() {
        let block = BLOCK as u64;
        let cuts = |sizes: &[u64]| cut(sizes.iter().copied());
        assert_eq!(cuts(&[]), []);
        assert_eq!(cuts(&[1, 2]), [Cut::Together(0..2)]);
        assert_eq!(
            cuts(&[block - 1, 1, 1, block, block * 3, 5, 6]),
            [
                Cut::Together(0..2),
                Cut::Together(2..3),
                Cut::Pieces(3),
                Cut::Pieces(4),
                Cut::Together(5..7)
            ]
        );
        assert_eq!((pieces(block), pieces(block + 1)), (1, 2));
    }
}
