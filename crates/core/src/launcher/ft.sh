#!/bin/sh
# Around the fault tolerance launcher, made by Mizzen: ft.sh FLAG RESULTS NODE COMMAND…
# The program makes the file FLAG when all work is done. RESULTS has a line for each attempt: X while it runs, then S or F.
flag=$1 results=$2 node=$3
shift 3
attempt=${MIZZEN_ATTEMPT:-1}
job=${SLURM_JOB_ID:-$$}

# Files that an earlier run has left say nothing of this one.
if [ "$attempt" -le 1 ]; then
    [ "$node" != 0 ] || rm -f -- "$flag" "$results"
elif [ -e "$flag" ]; then
    echo "mizzen: an attempt before this one has finished the work ($flag)"
    exit 0
fi

# write RESULT: the attempt's line, by the first node alone.
write() {
    [ "$node" = 0 ] || return 0
    if [ "$1" = X ]; then
        printf '%s %s X\n' "$job" "$attempt" >>"$results"
    else
        { sed '$d' "$results"; printf '%s %s %s\n' "$job" "$attempt" "$1"; } >"$results.new" && mv -f -- "$results.new" "$results"
    fi
}

write X
# Who tells the job to end tells the launcher too (they are one process group): its end is waited for, and its status is ours.
trap : TERM INT HUP
"$@"
status=$?
if [ "$status" -eq 0 ]; then write S; else write F; fi
exit "$status"
