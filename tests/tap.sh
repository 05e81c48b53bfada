# tap: what a case in sh needs to speak TAP. A case begins
#
#   #!/bin/sh
#   . "$TOP/tests/tap.sh"
#
# and ends with done_testing. It runs in a scratch folder of its own (see tests/run); the files .out, .err and .code
# there hold what the last command of ok and exit_is wrote and returned.
# SPDX-License-Identifier: MIT
tap_run=0
tap_failed=0

tap_line() {    # 0|1 NAME
    tap_run=$((tap_run + 1))
    if [ "$1" -eq 0 ]; then
        printf 'ok %d - %s\n' "$tap_run" "$2"
    else
        tap_failed=$((tap_failed + 1))
        printf 'not ok %d - %s\n' "$tap_run" "$2"
    fi
}

tap_note() {    # LABEL FILE: the first lines of a file as diagnostics
    printf '# %s\n' "$1"
    head -n 10 "$2" | tr -d '\000' | sed 's/^/#   /'
}

# ok NAME COMMAND...: the command succeeds.
ok() {
    tap_name=$1
    shift
    "$@" >.out 2>.err </dev/null
    tap_code=$?
    tap_line "$tap_code" "$tap_name"
    if [ "$tap_code" -ne 0 ]; then
        printf '# exit code %d: %s\n' "$tap_code" "$*"
        tap_note 'standard error:' .err
    fi
}

# not COMMAND...: succeeds when the command fails; for use behind ok.
not() {
    ! "$@"
}

# is GOT WANT NAME: two strings are equal.
is() {
    if [ "$1" = "$2" ]; then
        tap_line 0 "$3"
    else
        tap_line 1 "$3"
        printf '%s\n' "$1" | sed 's/^/# got:  /'
        printf '%s\n' "$2" | sed 's/^/# want: /'
    fi
}

# exit_is CODE REGEX COMMAND...: the command ends with this exit code, and standard error is one line that matches the
# extended regular expression (nothing at all where REGEX is empty). Standard output is left in .out.
exit_is() {
    tap_want=$1
    tap_regex=$2
    shift 2
    "$@" >.out 2>.err </dev/null
    tap_code=$?
    tap_lines=$(($(wc -l <.err)))
    tap_bad=0
    [ "$tap_code" -eq "$tap_want" ] || tap_bad=1
    if [ -z "$tap_regex" ]; then
        [ ! -s .err ] || tap_bad=1
    else
        [ "$tap_lines" -eq 1 ] && grep -Eq -e "$tap_regex" .err || tap_bad=1
    fi
    tap_line "$tap_bad" "exit $tap_want: $(printf '%s' "$*" | tr '\n#' '  ' | cut -c1-150)"
    if [ "$tap_bad" -ne 0 ]; then
        printf '# exit code %d, want %d; want one line matching: %s\n' "$tap_code" "$tap_want" "$tap_regex"
        tap_note 'standard error:' .err
    fi
}

done_testing() {
    printf '1..%d\n' "$tap_run"
    exit $((tap_failed != 0))
}
