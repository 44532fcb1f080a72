# shellcheck shell=sh disable=SC2154
# Takes an installation's swap back; as the module's own watch, after a while.
umask 022
trap '' HUP PIPE
sleep "$DELAY"
lock "$S" 600 || return 1
rm -f "$S/unit.part-$TOKEN"
if [ "$(token "$S/watch")" = "$TOKEN" ]; then
    take_back
    say result back
    say_former
elif [ -e "$S/watch" ]; then say result other
elif [ "$(token "$S/confirmed")" = "$TOKEN" ]; then say result confirmed
else
    say result nothing
    say_former
fi
