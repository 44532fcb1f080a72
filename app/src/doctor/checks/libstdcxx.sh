# shellcheck shell=sh disable=SC2154
has() { if grep -aq GLIBCXX_3.4.30 "$1" 2>/dev/null && grep -aq CXXABI_1.3.13 "$1" 2>/dev/null; then say "$2" yes; else say "$2" no; fi; }
has "$SYSTEM" system
OWN="$FOLDER/libstdc++.so.6"
if [ -L "$OWN" ]; then say kind link; say points "$(readlink "$OWN")"; if [ -e "$OWN" ]; then say whole yes; else say whole no; fi
elif [ -e "$OWN" ]; then say kind file; say whole yes
elif [ -d "$FOLDER" ]; then say kind none
else say kind nofolder; fi
has "$OWN" own
