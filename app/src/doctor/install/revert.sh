# shellcheck shell=sh disable=SC2154
# Reverts the swap of an installation; as the module's own watchdog, after $DELAY seconds in which it was not confirmed.
umask 022
trap '' HUP PIPE
while [ "$DELAY" -gt 0 ] && [ "$(token "$S/watch")" = "$TOKEN" ]; do
    sleep 1
    DELAY=$((DELAY - 1))
done
lock "$S" 600 || return 1
rm -f "$S/unit.part-$TOKEN"
if [ "$(token "$S/watch")" = "$TOKEN" ]; then
    revert
    say result back
    say_former
elif [ -e "$S/watch" ]; then say result other
elif [ "$(token "$S/confirmed")" = "$TOKEN" ]; then say result confirmed
else
    clear_away
    say result nothing
    say confirmed "$(token "$S/confirmed")"
    say_former
fi
