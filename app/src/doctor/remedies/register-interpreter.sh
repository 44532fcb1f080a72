# shellcheck shell=sh disable=SC2154
# Registers the folder of libax_interpreter.so with the loader: one line in a file of its own, and the loader's table.

listed() {
    ldconfig -p | grep -qF "$1/libax_interpreter.so"
}

backup() {
    put "$FOLDER" "$B/folder"
    if listed "$FOLDER"; then true >"$B/listed"; fi
    if present "$CONF"; then copy "$CONF" "$B/conf"; fi
}

change() {
    ls -l "$FOLDER"/libax_interpreter.so*
    printf '%s\n' "$FOLDER" >"$CONF.softprefix"
    grep -qxF "$FOLDER" "$CONF.softprefix"
    sync "$CONF.softprefix"
    mv -fT "$CONF.softprefix" "$CONF"
    sync "$(dirname "$CONF")"
    ldconfig || { rm -f /etc/ld.so.cache~; false; }
}

# To undo, the folder is known from the backup alone.
folder() {
    if [ -n "$FOLDER" ]; then printf '%s\n' "$FOLDER"; else cat "$B/folder"; fi
}

verify() {
    grep -qxF "$(folder)" "$CONF" && listed "$(folder)"
}

restored() {
    if present "$B/conf"; then same "$B/conf" "$CONF" || return 1
    elif present "$CONF"; then return 1; fi
    [ -e "$B/listed" ] || ! listed "$(cat "$B/folder")"
}

# Where the loader's table cannot be written, the file goes back to what the table says: never one without the other.
restore() {
    rm -f "$CONF.softprefix" "$CONF.softprefix-old" "$CONF.softprefix-new"
    if restored; then return; fi
    if present "$B/conf"; then copy "$B/conf" "$CONF.softprefix-old"; fi
    if present "$CONF"; then ln -P "$CONF" "$CONF.softprefix-new"; fi
    if present "$B/conf"; then mv -fT "$CONF.softprefix-old" "$CONF"; else rm -f "$CONF"; fi
    if ! restored && ! ldconfig; then
        rm -f /etc/ld.so.cache~
        if present "$CONF.softprefix-new"; then mv -fT "$CONF.softprefix-new" "$CONF"; fi
        return 1
    fi
    rm -f "$CONF.softprefix-new"
    sync "$(dirname "$CONF")"
}
