# shellcheck shell=sh disable=SC2153,SC2154
umask 022
trap '' HUP PIPE
lock "$S" 60 || return 1
PART="$S/unit.part-$TOKEN"
found=$(sha256sum "$PART" | cut -d' ' -f1)
if [ "$found" != "$SHA" ]; then
    rm -f "$PART"
    say result badcopy
    say found "$found"
    return 0
fi

# Changes nothing yet.
prepare() {
    chmod 755 "$PART"
    "$PART" --version
    cp "$PART" "$NEW.softprefix"
    cmp "$PART" "$NEW.softprefix"
    sync "$NEW.softprefix"
    mkdir -p "$D"
    printf '[Service]\nExecStart=\nExecStart=%s --bus\n' "$NEW" >"$DROPIN.softprefix"
    grep -qxF "ExecStart=$NEW --bus" "$DROPIN.softprefix"
    sync "$DROPIN.softprefix"
}

# The state to revert to. It is not that of a swap which waits to be confirmed, but what that swap has kept.
keep() {
    if [ -e "$S/watch" ]; then
        before=$(sed -n 2,4p "$S/watch")
    else
        rm -f "$NEW.before" "$DROPIN.before"
        unit=no dropin=no
        if present "$NEW"; then ln -P "$NEW" "$NEW.before"; unit=yes; fi
        if present "$DROPIN"; then ln -P "$DROPIN" "$DROPIN.before"; dropin=yes; fi
        before="$unit
$dropin
$(starts_next program)"
    fi
    put "$TOKEN
$before
$(cat /proc/sys/kernel/random/boot_id)" "$S/watch"
}

change() {
    mv -fT "$NEW.softprefix" "$NEW"
    mv -fT "$DROPIN.softprefix" "$DROPIN"
    systemctl daemon-reload
    systemctl restart llm-llm
    systemctl is-active --quiet llm-llm
}

step prepare
if [ "$code" = 0 ]; then step keep; fi
if [ "$code" != 0 ]; then
    rm -f "$PART" "$NEW.softprefix" "$DROPIN.softprefix"
    if [ ! -e "$S/watch" ]; then clear_away; fi
    say result failed
    say why "$(last_words)"
    return 0
fi
# A process of its own: whatever happens to the connection and to this script, the swap ends confirmed or reverted.
setsid sh -c "$WATCHER" >/dev/null 2>&1 3>&1 </dev/null 9>&- &
step change
rm -f "$PART"
if [ "$code" = 0 ] && ! is runs ours; then
    log="${log}the service does not run $NEW: $(running)
"
    code=1
fi
if [ "$code" = 0 ]; then
    say result swapped
    say confirmed "$(token "$S/confirmed")"
else
    why=$(last_words)
    revert
    say result back
    say why "$why"
    say_former
fi
