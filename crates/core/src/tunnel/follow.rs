//! Following files where the agent can't run: `mizzen-agent follow`'s frames, by a script that looks once a second.

use std::collections::BTreeMap;

use camino::Utf8Path;

use super::Cmd;

/// `$1`: the id, `$2`: the folder, `$3`: `once` or nothing; then a file's name below the folder and its known length, for
/// each that is known. Names hold no blanks: they are `<number>/rank-<number>.log` and `<number>/exit.json`.
///
/// A piece goes through a file of its own, so that the length that is announced is the length that is sent, whatever
/// becomes of the log in between. It ends when its standard input does.
const FOLLOW: &str = r#"
id=$1 folder=$2 once=$3
shift 3
state=' '
while [ $# -gt 1 ]; do
    state="$state$1=$2: "
    shift 2
done
piece=$(mktemp) || exit 1
trap 'rm -f -- "$piece"' EXIT
trap 'exit 0' TERM PIPE
if [ -z "$once" ]; then
    # What runs in the background has no standard input of its own.
    exec 3<&0
    { cat <&3 >/dev/null; kill -TERM "$$"; } >/dev/null 2>&1 &
    exec 3<&-
fi
pass() {
    for path in "$folder"/*/rank-*.log "$folder"/*/exit.json; do
        [ -f "$path" ] || continue
        file=${path#"$folder"/}
        inode=$(ls -di -- "$path" 2>/dev/null) || continue
        inode=${inode#"${inode%%[0-9]*}"}
        inode=${inode%%[!0-9]*}
        size=$(wc -c <"$path" 2>/dev/null) || continue
        size=$((size)) offset=0 before= restart=
        case $state in *" $file="*)
            rest=${state#*" $file="}
            rest=${rest%% *}
            offset=${rest%%:*} before=${rest#*:} ;;
        esac
        if [ "$size" -lt "$offset" ] || [ "${before:-$inode}" != "$inode" ]; then
            offset=0 restart=',"restart":true'
        fi
        while [ "$offset" -lt "$size" ] || [ -n "$restart" ]; do
            tail -c "+$((offset + 1))" -- "$path" 2>/dev/null | head -c 262144 >"$piece"
            length=$(wc -c <"$piece")
            length=$((length))
            [ "$length" -gt 0 ] || [ -n "$restart" ] || break
            printf '{"id":%s,"file":"%s","offset":%s,"size":%s%s}\n' "$id" "$file" "$offset" "$length" "$restart"
            cat -- "$piece" || exit 0
            offset=$((offset + length)) restart=
        done
        case $state in *" $file="*) state="${state%%" $file="*} ${state#*" $file="* }" ;; esac
        state="$state$file=$offset:$inode "
    done
}
pass
printf '{"id":%s,"quiet":true}\n' "$id"
[ -z "$once" ] || exit 0
while :; do
    sleep 1 >/dev/null 2>&1 &
    wait "$!"
    pass
done"#;

/// A command that prints what `mizzen-agent follow` prints for one folder: `<n>/rank-*.log` and `<n>/exit.json` below
/// `folder`, from the `known` lengths on. With `once` it ends when all that is there was sent; else when its standard
/// input ends.
#[must_use]
pub fn follow_without_agent(
    id: u64,
    folder: &Utf8Path,
    known: &BTreeMap<String, u64>,
    once: bool,
) -> Cmd {
    let once = if once { "once" } else { "" };
    let head = [id.to_string(), folder.to_string(), once.to_owned()];
    let known = known
        .iter()
        .filter(|(file, _)| !file.contains(char::is_whitespace) && !file.contains('='))
        .flat_map(|(file, length)| [file.clone(), length.to_string()]);
    Cmd::script(FOLLOW, head.into_iter().chain(known)).env("LC_ALL", "C")
}
