# shellcheck shell=sh disable=SC2154
if [ -d "$TREE/projects/llm_framework" ]; then say tree yes; else say tree no; fi
FILE="$TREE/SDK/components/simdjson_component/SConstruct"
if [ -f "$FILE" ]; then
    say sconstruct yes
    if grep -qF 'gcc_dumpmachine = env["GCC_DUMPMACHINE"]' "$FILE"; then say reads yes; else say reads no; fi
    if grep -qF 'if "GCC_DUMPMACHINE" not in env' "$FILE"; then say patched yes; else say patched no; fi
else say sconstruct no; fi
for tool in gcc g++; do
    if [ -x "$TOOLCHAIN/aarch64-none-linux-gnu-$tool" ]; then say tool yes; else say tool no; fi
    if [ -x "/usr/bin/$tool" ]; then say native yes; else say native no; fi
done
if command -v scons >/dev/null 2>&1; then say scons yes; else say scons no; fi
# shellcheck disable=SC2012 # The newest first; the name is only shown.
say built "$(ls -t "$TREE"/projects/llm_framework/dist/llm_llm* 2>/dev/null | head -n 1)"
say memory "$(awk '/MemAvailable/ {print $2}' /proc/meminfo 2>/dev/null)"
