# shellcheck shell=sh
# The service manager stand-in of a module in a jail. A unit starts only if its program can be loaded, as on a module, and what starts is
# what was in its files at the last daemon-reload.
S=/var/lib/stand-in

files() {
    for f in "/etc/systemd/system/$1.service" "/lib/systemd/system/$1.service"; do
        if [ -e "$f" ]; then echo "$f"; break; fi
    done
    for f in "/etc/systemd/system/$1.service.d"/*.conf "/lib/systemd/system/$1.service.d"/*.conf; do
        # A file in /etc hides one of the same name in /lib.
        case $f in
        /lib/*) if [ -e "/etc${f#/lib}" ]; then continue; fi ;;
        esac
        if [ -e "$f" ]; then echo "$f"; fi
    done
}

cat_unit() {
    files "$1" | while read -r f; do
        echo "# $f"
        cat "$f"
        echo
    done
}

load() {
    cat_unit "$1" | awk -F= '/^ExecStart=/ { split($2, words, " "); program = words[1] } END { print program }' >"$S/$1.loaded"
}

start() {
    if [ "$1" = llm-llm ]; then
        [ -e "$S/$1.loaded" ] || load "$1"
        program=$(cat "$S/$1.loaded")
        [ -n "$program" ] || program=/opt/m5stack/bin/llm_llm-1.9
        rm -f /proc/4242/exe
        if ! [ -x "$program" ] || ldd "$program" 2>&1 | grep -q 'not found'; then
            echo failed >"$S/$1"
            echo "Job for $1.service failed." >&2
            exit 1
        fi
        mkdir -p /proc/4242
        ln -s "$program" /proc/4242/exe
        echo "$program" >"$S/$1.program"
    fi
    echo active >"$S/$1"
}

case "$1" in
--version) echo "service manager stand-in (not systemd)" ;;
is-active)
    if [ "$2" = --quiet ]; then quiet=yes; shift; fi
    state=$(cat "$S/$2" 2>/dev/null || echo inactive)
    [ -n "$quiet" ] || echo "$state"
    [ "$state" = active ]
    ;;
start | restart) start "$2" ;;
try-restart) if [ "$(cat "$S/llm-llm")" = active ]; then start "${2%.service}"; fi ;;
stop)
    echo inactive >"$S/$2"
    rm -f /proc/4242/exe
    ;;
daemon-reload) load llm-llm ;;
cat)
    if [ -z "$(files "$2")" ]; then echo "No files found for $2.service." >&2; exit 1; fi
    cat_unit "$2"
    ;;
show) if [ "$(cat "$S/llm-llm" 2>/dev/null)" = active ]; then echo 4242; else echo 0; fi ;;
status) echo "stand-in: $2 is $(cat "$S/$2")" ;;
*)
    echo "stand-in: unknown $1" >&2
    exit 1
    ;;
esac
