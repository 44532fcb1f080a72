# shellcheck shell=sh disable=SC2154
# The build runs in a session of its own, so that it can be ended as a whole, and with its memory watched: a module that swaps is
# a module that has to be unplugged.
STATE=/var/lib/softprefix/doctor/build
mkdir -p "$STATE" || return 1
cd "$TREE/projects/llm_framework" || { echo "there is no $TREE/projects/llm_framework"; return 1; }
if [ -e "$STATE/pid" ] && kill -0 "$(cat "$STATE/pid")" 2>/dev/null; then echo "a build is running already"; return 1; fi
rm -f "$STATE/why"
setsid sh -c 'yes Y | scons -j1' 2>&1 &
build=$!
trap '' PIPE
# Nobody could stop it otherwise.
echo "$build" >"$STATE/pid"
if [ "$(cat "$STATE/pid")" != "$build" ]; then
    kill -TERM "-$build"
    echo "softprefix: not started, because $STATE/pid cannot be written"
    return 4
fi
(
    while kill -0 "$build" 2>/dev/null; do
        free=$(awk '/MemAvailable/ {print int($2 / 1024)}' /proc/meminfo)
        printf '\036%s\037' "$free"
        if [ "${free:-9999}" -lt "$FLOOR" ]; then
            echo "memory" >"$STATE/why"
            kill -TERM "-$build" 2>/dev/null
            return
        fi
        sleep 2
    done
) &
wait "$build"; status=$?
rm -f "$STATE/pid"
if [ -e "$STATE/why" ]; then echo; echo "softprefix: stopped, because less than $FLOOR MiB of memory were free"; return 3; fi
return "$status"
