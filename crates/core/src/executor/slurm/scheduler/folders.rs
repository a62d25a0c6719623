//! What attempts' folders at the place hold: claims, records, signs of life.

use std::collections::BTreeMap;

use mizzen_agent::record::ExitRecord;

use super::super::queue::LIMIT;
use super::SlurmScheduler;
use crate::executor::ObserveError;
use crate::tunnel::Cmd;

/// Prints a line for each attempt's folder on standard input: whose it is, and its record, or a `-`, with the name of a
/// file that was touched of late if there is one.
/// Where the experiment's folder was removed, and the one that it was in is there, nothing is in the attempts' folders; where
/// that one is not there either, its file system may be gone for a while, and nobody knows.
const RECORDS: &str = r#"if [ ! -d "$1" ] && title=${1%/*} && [ -d "${title%/*}" ]; then
  while IFS= read -r folder; do echo '- -'; done
  exit
fi
cd -- "$1" || exit
while IFS= read -r folder; do
  if [ -L "$folder/job" ]; then printf '%s ' "$(readlink "$folder/job" || echo -)"; else printf -- '- '; fi
  if [ -f "$folder/exit.json" ]; then tr -d '\n' <"$folder/exit.json"; echo
  else
    printf -- '-'
    if [ -d "$folder/ranks" ] || [ -d "$folder/nodes" ]; then find "$folder/ranks" "$folder/nodes" -name heartbeat -mmin -2 2>/dev/null | head -n 1 | tr -d '\n'; fi
    echo
  fi
done"#;

/// What an attempt's folder holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) claim: Option<String>,
    pub(super) record: Option<ExitRecord>,
    pub(super) alive: bool,
}

impl SlurmScheduler {
    /// What attempts' folders hold: one answer for each, in order. Folders are relative to their experiment's.
    pub(super) async fn folders(
        &self,
        wanted: &[(String, String)],
    ) -> Result<Vec<Found>, ObserveError> {
        let mut by_directory: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, (directory, _)) in wanted.iter().enumerate() {
            by_directory.entry(directory).or_default().push(number);
        }
        let mut found = vec![Found::default(); wanted.len()];
        for (directory, numbers) in by_directory {
            let list: String = numbers
                .iter()
                .map(|number| format!("{}\n", wanted[*number].1))
                .collect();
            let command = Cmd::script(RECORDS, [directory])
                .stdin(list.into_bytes())
                .timeout(LIMIT);
            let answer = self.ask(&command).await?;
            let mut lines = answer.lines();
            for number in numbers {
                let Some(line) = lines.next() else {
                    return Err(ObserveError(format!(
                        "{directory} can't be read at {}",
                        self.place
                    )));
                };
                found[number] = read_found(line);
            }
        }
        Ok(found)
    }
}

fn read_found(line: &str) -> Found {
    let (claim, rest) = line.split_once(' ').unwrap_or((line, "-"));
    let claim = (claim != "-").then(|| claim.to_owned());
    match rest.strip_prefix('-') {
        Some(sign) => Found {
            claim,
            record: None,
            alive: !sign.is_empty(),
        },
        None => Found {
            claim,
            record: serde_json::from_str(rest).ok(),
            alive: false,
        },
    }
}
