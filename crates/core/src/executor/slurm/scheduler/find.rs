//! Looking for what may have been submitted: by its key in the queue, by the claim in its folder.

use std::collections::{BTreeMap, HashMap};

use super::super::payload::{ARRAYS, Submission};
use super::super::queue::{LIMIT, Row};
use super::SlurmScheduler;
use crate::executor::{ObserveError, Request};
use crate::model::Handle;
use crate::tunnel::Cmd;

/// Prints the claims of the attempts on standard input, and the keys of all arrays.
const CLAIMS: &str = r#"cd -- "$1" 2>/dev/null || exit 0
while IFS= read -r folder; do
  if [ -L "$folder/job" ]; then printf 'claim %s\n' "$(readlink "$folder/job" || echo -)"; else echo 'claim -'; fi
done
for array in "$2"/*/keys; do
  [ -f "$array" ] || continue
  folder=${array%/keys}; name=${folder##*/}
  while IFS=' ' read -r key rest; do printf 'array %s %s\n' "$name" "$key"; done <"$array"
done"#;

impl SlurmScheduler {
    /// One answer for each request, as [`crate::executor::Scheduler::find_many`].
    pub(super) async fn look_for(
        &self,
        requests: &[Request],
    ) -> Result<Vec<Option<Handle>>, ObserveError> {
        let now = self.context.clock.now();
        let seen = self
            .shared
            .get(&self.context, self.tunnel.as_ref(), now)
            .await?;
        let by_key: HashMap<&str, Vec<&Row>> =
            seen.rows.iter().fold(HashMap::new(), |mut map, row| {
                if let Some(key) = row.key() {
                    map.entry(key).or_insert_with(Vec::new).push(row);
                }
                map
            });
        let submissions: Vec<Option<Submission>> = requests
            .iter()
            .map(|request| Submission::from_payload(&request.payload).ok())
            .collect();
        let mut by_directory: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, submission) in submissions.iter().enumerate() {
            if let Some(submission) = submission {
                by_directory
                    .entry(&submission.directory)
                    .or_default()
                    .push(number);
            }
        }
        let mut found: Vec<Option<String>> = vec![None; requests.len()];
        for (directory, numbers) in by_directory {
            let list: String = numbers
                .iter()
                .filter_map(|number| submissions[*number].as_ref())
                .map(|one| {
                    let folder = one.folders.first().map_or("", String::as_str);
                    format!("{folder}/attempts/{}\n", one.attempt)
                })
                .collect();
            let command = Cmd::script(CLAIMS, [directory, ARRAYS])
                .stdin(list.into_bytes())
                .timeout(LIMIT);
            let answer = self.ask(&command).await?;
            let claims: Vec<&str> = answer
                .lines()
                .filter_map(|line| line.strip_prefix("claim "))
                .collect();
            // A key may stand in several: one that was never accepted may be sent again with others.
            let mut arrays: HashMap<&str, Vec<(&str, usize)>> = HashMap::new();
            let mut next: HashMap<&str, usize> = HashMap::new();
            for line in answer.lines() {
                let Some((array, key)) = line
                    .strip_prefix("array ")
                    .and_then(|rest| rest.split_once(' '))
                else {
                    continue;
                };
                let index = next.entry(array).or_insert(0);
                arrays.entry(key).or_default().push((array, *index));
                *index += 1;
            }
            for (position, number) in numbers.into_iter().enumerate() {
                let key = requests[number].key.as_str();
                let claimed = claims
                    .get(position)
                    .filter(|claim| **claim != "-")
                    .map(|claim| (*claim).to_owned());
                let single = || {
                    by_key
                        .get(key)?
                        .iter()
                        .filter(|row| !row.id.contains('_'))
                        // What sbatch refused leaves a row too: the newest is the one.
                        .max_by_key(|row| row.id.parse::<u64>().unwrap_or(0))
                        .map(|row| row.id.clone())
                };
                let member = || {
                    arrays.get(key)?.iter().find_map(|(array, index)| {
                        by_key
                            .get(array)?
                            .iter()
                            .find(|row| row.id.ends_with(&format!("_{index}")))
                            .map(|row| row.id.clone())
                    })
                };
                found[number] = claimed.or_else(single).or_else(member);
            }
        }
        Ok(requests
            .iter()
            .zip(found)
            .map(|(request, id)| id.map(|id| self.handle(&id, &request.key)))
            .collect())
    }
}
