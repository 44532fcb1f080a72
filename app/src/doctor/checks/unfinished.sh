# shellcheck shell=sh disable=SC2154
# A lock that is held belongs to a change under way. An installation's own watch acts within minutes, and ends with the machine.
for mark in /var/lib/softprefix/doctor/*/pending; do
    folder=${mark%/pending}
    if [ -e "$mark" ] && flock -n "$folder/lock" true; then say remedy "${folder##*/}"; fi
done
watch=/var/lib/softprefix/install/watch
if [ -e "$watch" ] && { [ "$(sed -n 5p "$watch")" != "$(cat /proc/sys/kernel/random/boot_id)" ] || [ -n "$(find "$watch" -mmin +30)" ]; }; then
    say installation yes
fi
