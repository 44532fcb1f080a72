# shellcheck shell=sh disable=SC2154
# A lock that is held belongs to a change under way. An installation's own watch acts within minutes; after that there is none.
for mark in /var/lib/softprefix/doctor/*/pending; do
    folder=${mark%/pending}
    if [ -e "$mark" ] && flock -n "$folder/lock" true; then say remedy "${folder##*/}"; fi
done
if [ -n "$(find /var/lib/softprefix/install/watch -mmin +30 2>/dev/null)" ]; then say installation yes; fi
