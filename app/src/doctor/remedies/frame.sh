# shellcheck shell=sh disable=SC2034,SC2154
# What all remedies have in common. A remedy is five functions (the files beside this one):
#   backup    keeps in $B what the change will replace, and changes nothing else
#   change    the change itself, as the person is shown it
#   verify    whether the change is in effect
#   restored  whether what $B holds is in place
#   restore   puts it there; right wherever the change or an earlier restore stopped
# In $STATE, `pending` says that the change or its undoing has begun and is not over; `applied`, that the change was made and
# verified. A backup counts once `complete` is in it. A run that is cut off is taken back by the next, whatever that is asked for.
umask 022
trap '' HUP PIPE
STATE="/var/lib/softprefix/doctor/$ID"; B="$STATE/backup"
lock "$STATE" 5 || return 1
LOG="$STATE/log"

# Puts the old state there and compares; $code is 0 where it is there, whole.
give_back() {
    if [ ! -e "$B/complete" ]; then
        log="${log}the backup in $B is not complete, so nothing was restored
"
        code=1
        return
    fi
    step restore
    if [ "$code" = 0 ] && ! is restored; then
        log="${log}what was restored is not what the backup holds
"
        code=1
    fi
}

# over RESULT: the old state is in place.
over() {
    rm -f "$STATE/pending" "$STATE/applied"
    rm -rf "$B"
    sync "$STATE"
    say result "$1"
}

# The old state could not be put back. Backup and mark stay: the next run or undo tries again.
stuck() {
    say result stuck
    say why "$1"
    say backup "$B"
    if [ -e "$B/complete" ] && is restored; then say state old
    elif is verify; then say state new
    else say state part; fi
}

apply() {
    if [ -e "$STATE/pending" ]; then
        give_back
        if [ "$code" != 0 ]; then stuck "$(last_words)"; return 1; fi
        rm -f "$STATE/pending"
    fi
    if is verify; then say result already; return 0; fi
    # An earlier change that is not in effect any more: its backup stays under a name with the time.
    if [ -e "$STATE/applied" ] && mkdir -p "$B"; then mv "$STATE/applied" "$B/applied"; fi
    if [ -e "$B/applied" ]; then mv "$B" "$B.$TS.$$"; else rm -rf "$B"; fi
    code=1
    mkdir "$B" && step backup
    if [ "$code" != 0 ] || ! true >"$B/complete" || ! sync "$B/complete" "$B" || ! true >"$STATE/pending" || ! sync "$STATE"; then
        rm -f "$STATE/pending"
        rm -rf "$B"
        say result failed
        say why "$(last_words)"
        return 1
    fi
    step change
    if [ "$code" = 0 ] && ! is verify; then
        log="${log}the commands ran, but the change is not in effect
"
        code=1
    fi
    if [ "$code" = 0 ] && mv "$STATE/pending" "$STATE/applied" && sync "$STATE"; then say result "done"; return 0; fi
    why=$(last_words)
    give_back
    if [ "$code" = 0 ]; then over restored; say why "$why"
    else stuck "$why
$(last_words)"; fi
}

undo() {
    if [ ! -e "$STATE/pending" ] && [ ! -e "$STATE/applied" ]; then say result nothing; return 0; fi
    if [ ! -e "$STATE/pending" ] && ! mv "$STATE/applied" "$STATE/pending"; then say result failed; return 1; fi
    give_back
    if [ "$code" = 0 ]; then over undone; return 0; fi
    stuck "$(last_words)"
    if ! is restored && is verify; then mv "$STATE/pending" "$STATE/applied"; fi
}

unsaid() { say result failed; say why "its answer did not come; what it printed is in $STATE/log"; }

# settle RESULT: after an apply or undo whose answer did not come, says how it ended, or takes it back.
settle() {
    if [ -e "$STATE/pending" ]; then
        give_back
        if [ "$code" = 0 ]; then over "$1"; say why 'it was cut off on the module'; else stuck "$(last_words)"; fi
    elif [ "$1" = undone ]; then
        if [ -e "$STATE/applied" ]; then unsaid; else say result undone; fi
    elif ! is verify; then unsaid
    elif [ -e "$STATE/applied" ]; then say result "done"
    else say result already; fi
}

case $ACT in
apply) apply ;;
undo) undo ;;
settle-apply) settle restored ;;
settle-undo) settle undone ;;
esac
say log "$log"
