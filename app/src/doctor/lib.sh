# shellcheck shell=sh disable=SC2034,SC2154
# Functions for every script of the doctor. `say KEY VALUE` answers a pair (script.rs).

# lock FOLDER SECONDS: makes FOLDER and holds its lock until the script ends, or answers why not.
lock() {
    if ! mkdir -p "$1" || ! true >>"$1/lock"; then say result failed; say folder "$1"; return 1; fi
    if ! command -v flock >/dev/null; then say result failed; say why 'there is no flock (package util-linux)'; return 1; fi
    exec 9>>"$1/lock"
    flock -w "$2" 9 || { say result failed; say busy yes; return 1; }
}

# present FILE: a file or a link is there, also a link that points to nothing.
present() { [ -e "$1" ] || [ -L "$1" ]; }

# same A B: both are there and alike: links to one place, or files with the same bytes.
same() {
    if [ -L "$1" ] || [ -L "$2" ]; then
        [ -L "$1" ] && [ -L "$2" ] && [ "$(readlink "$1")" = "$(readlink "$2")" ]
    else
        cmp -s "$1" "$2"
    fi
}

# copy FROM TO: TO becomes a copy of FROM as a whole, or stays as it is.
copy() {
    rm -f "$2.softprefix"
    if cp -pP "$1" "$2.softprefix" && same "$1" "$2.softprefix" && place "$2.softprefix" "$2"; then return 0; fi
    rm -f "$2.softprefix"
    return 1
}

# put TEXT TO: TO becomes a file with TEXT and a line end as a whole, or stays as it is.
put() {
    if printf '%s\n' "$1" >"$2.softprefix" && [ "$(cat "$2.softprefix")" = "$1" ] && place "$2.softprefix" "$2"; then return 0; fi
    rm -f "$2.softprefix"
    return 1
}

# place NEW TO: renames a finished file; what is on the disk after a power cut is the one or the other, whole.
place() {
    { [ -L "$1" ] || sync "$1"; } && mv -fT "$1" "$2" && sync "$(dirname "$2")"
}

# move_back KEPT FILE: renames KEPT to FILE; both may be one and the same file.
move_back() {
    # shellcheck disable=SC3013 # dash, bash and busybox have -ef.
    if [ "$1" -ef "$2" ]; then rm -f "$1"; else mv -fT "$1" "$2"; fi
}

# step FUNCTION: runs it; its commands and what they print are added to $log, its status is $code. Never in a condition: there a shell
# passes over failing commands.
log=''
TS=$(date +%Y%m%d_%H%M%S)
step() {
    text=$(exec 2>&1; set -eux; "$1"); code=$?
    log="$log$text
"
    # For people, as far as the disk has room.
    { printf '%s %s\n%s\n' "$TS" "$1" "$text" >>"$LOG"; } 2>/dev/null || true
}

# is FUNCTION: whether it succeeds; its output is dropped.
is() { "$@" >/dev/null 2>&1; }

last_words() { printf '%s' "$log" | tail -n 4; }
