#!/bin/sh
# truth: the experiments of pipelines/known-truth that take seconds: closed forms met through the real tools.
# SPDX-License-Identifier: MIT
. "$TOP/tests/tap.sh"

make -s --no-print-directory -C "$TOP/pipelines/known-truth" quick QUICK='e02 e03 e08 e14' OUT="$TEST_TMP" > table 2> err
while IFS="$(printf '\t')" read -r experiment quantity least most measured verdict; do
    [ "$experiment" = experiment ] && continue
    is "$verdict" ok "$experiment: $quantity: $measured, from $least to $most"
done < table
is "$(wc -l < table)" 32 'every line is there'
# The verdict is not for show.
printf 'e99\tnothing\t1\t2\t3\tMISS\n' > miss.tsv
exit_is 1 '' "$TOP/pipelines/known-truth/experiments" table miss.tsv
done_testing
