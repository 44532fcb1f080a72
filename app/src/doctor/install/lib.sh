# shellcheck shell=sh disable=SC2034,SC2154
# What the installer's scripts have in common.
#
# The unit lies beside the stock one, and a drop-in file makes the service start it. What was there before stays under the names
# *.before: links to the same files, which need no room on the disk and are whole whenever they are there. $S/watch says that a swap
# waits to be confirmed: the token of its installation, whether there was a unit and a drop-in before, the program that the service
# would have started, and the start of the machine that the watch lives in. Whoever acts on a swap holds the lock and compares the token.
S=/var/lib/softprefix/install
D=/etc/systemd/system/llm-llm.service.d
DROPIN="$D/softprefix.conf"
NEW=/opt/m5stack/bin/softprefix-unit
LOG="$S/log"

# The program that systemd starts next for the service, as its files say: the last ExecStart counts. With `file`: who says so.
starts_next() {
    systemctl cat llm-llm 2>/dev/null | awk -v what="$1" '
        /^# \// { file = $2 }
        sub(/^[ \t]*ExecStart[ \t]*=[ \t]*/, "") { sub(/^[-@:+!]*/, ""); program = $1; by = file }
        END { print what == "file" ? by : program }'
}

# The program that the service runs now, if any.
running() {
    pid=$(systemctl show -p MainPID --value llm-llm 2>/dev/null)
    case $pid in
    '' | 0) ;;
    *) readlink "/proc/$pid/exe" ;;
    esac
}

# runs FUNCTION: the service is active and FUNCTION says yes to its program, now and a second later.
runs() {
    systemctl is-active --quiet llm-llm && "$1" "$(running)" && sleep 1 &&
        systemctl is-active --quiet llm-llm && "$1" "$(running)"
}
ours() { [ "$1" = "$NEW" ]; }
not_ours() { [ -n "$1" ] && [ "$1" != "$NEW" ] && [ "$1" != "$NEW (deleted)" ]; }

# The Debian package that a file belongs to, if any.
owner() { dpkg-query -S "$1" 2>/dev/null | head -n 1 | cut -d: -f1; }

token() { sed -n 1p "$1" 2>/dev/null; }

# Puts the state before the swap back. Each file changes by one rename; `watch` goes last, so that a run that is cut off is repeated.
revert() {
    if [ "$(sed -n 3p "$S/watch")" = no ]; then
        rm -f "$DROPIN"
    elif present "$DROPIN.before"; then move_back "$DROPIN.before" "$DROPIN"; fi
    if [ "$(sed -n 2p "$S/watch")" = yes ] && present "$NEW.before"; then move_back "$NEW.before" "$NEW"; fi
    systemctl daemon-reload
    systemctl restart llm-llm
    if [ "$(sed -n 2p "$S/watch")" = no ] && [ "$(starts_next program)" != "$NEW" ] && [ -z "$(owner "$NEW")" ]; then rm -f "$NEW"; fi
    former=$(sed -n 4p "$S/watch")
    clear_away
    rm -f "$S/watch"
    [ "$(starts_next program)" = "$former" ]
}

# What a swap leaves behind; the folder only where nothing else is in it.
clear_away() {
    rm -f "$NEW.before" "$NEW.softprefix" "$DROPIN.before" "$DROPIN.softprefix"
    rmdir "$D" 2>/dev/null || true
}

say_former() {
    if systemctl is-active --quiet llm-llm; then say former running; else say former stopped; fi
}
