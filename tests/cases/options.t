#!/bin/sh
# options: what every tool does with its command line, and with inputs and outputs that are not what it needs.
# SPDX-License-Identifier: MIT
. "$TOP/tests/tap.sh"

perl -I"$TOP/tests/ref" -e 'use RefFiles; use SaeRef;
srand 6; sae_write("s.sae", sae_random("relu", 4, 6));
stream_write("a.saes", "acts", 4, [ [ 1, 2, 3, 4 ], [ 0, 1, 0, -1 ] ], ctx => [ 0, 0 ], pos => [ 1, 2 ]);
stream_write("bare.saes", "acts", 4, [ [ 1, 2, 3, 4 ] ]);
stream_write("c.saes", "codes", 6, [ { 1 => 2 }, { 0 => 1, 5 => 3 } ]);
stream_write("wide.saes", "acts", 5, [ [ 1 .. 5 ] ]);
stream_write("more.saes", "codes", 7, [ { 6 => 1 } ]);' || exit 1
tools='act-cat act-dump act-splice sae-cossim sae-encode sae-fit sae-patch sae-topk'

# ---- every tool ----

for tool in $tools; do
    for word in --help -h; do
        ok "$tool $word" "$tool" $word
        is "$(head -n 1 .out | cut -d' ' -f1,2)" "Usage: $tool" "$tool $word: to standard output"
        is "$(cat .err)" '' "$tool $word: and nothing else"
    done
    ok "$tool --version" "$tool" --version
    is "$(sed 's/[0-9][0-9]*/N/g' .out)" "$tool (saetools) N.N.N" "$tool --version: name and number"
    ok "$tool -V -v" "$tool" -V -v
    exit_is 2 "^$tool: .*--no-such-option" "$tool" --no-such-option
    exit_is 2 "^$tool: .*-Q" "$tool" -Q
    exit_is 2 "^$tool: --threads: '0' is not a whole number from 1 to 256" "$tool" -j 0
    exit_is 2 "^$tool: --threads: '257' is not" "$tool" --threads 257
    exit_is 2 "^$tool: --threads: '2x' is not" "$tool" --thr=2x
    exit_is 2 "^$tool: --threads: '' is not" "$tool" -j ''
    exit_is 2 "^$tool: option (-j|--threads) needs a value" "$tool" --threads
    exit_is 1 "^$tool: <stdout>: write error: No space left" sh -c "exec $tool --help >/dev/full"
done
for tool in act-cat sae-cossim sae-encode sae-patch; do
    exit_is 2 "^$tool: -z: '0' is not a level from 1 to 19" "$tool" -z0 s.sae a.saes
    exit_is 2 "^$tool: -z: '20' is not" "$tool" -z20 s.sae a.saes
    exit_is 2 "^$tool: -z: 'x' is not" "$tool" --compress=x s.sae a.saes
done
for tool in sae-cossim sae-encode sae-patch; do
    exit_is 2 "^$tool: too few operands: $tool \[OPTION" "$tool"
    exit_is 2 "^$tool: unexpected operand 'c'" "$tool" a b c
done
exit_is 2 "^sae-topk: unexpected operand 'b'" sae-topk a b

# ---- numbers and their ranges ----

exit_is 2 "^act-cat: --every: '0' is not a whole number from 1 up" act-cat --every 0 a.saes
exit_is 2 "^act-cat: --head: '-1' is not a whole number from 0 up" act-cat --head -1 a.saes
exit_is 2 "^act-cat: --head: '1.5' is not" act-cat --head 1.5 a.saes
exit_is 2 "^act-cat: --head: '1T' is not" act-cat --head 1T a.saes
exit_is 2 "^act-cat: --head: '99999999999999999999' is not" act-cat --head 99999999999999999999 a.saes
exit_is 2 "^act-cat: --type: 'f64' is not one of f32, f16, bf16" act-cat -t f64 a.saes
exit_is 2 "^act-cat: --from: 'safe' is not one of " act-cat --from safe a.saes
exit_is 2 "^act-cat: --scale: '1x' is not a number" act-cat --scale 1x a.saes
exit_is 2 "^act-cat: --scale: 'nan' is not a number" act-cat --scale nan a.saes
exit_is 2 "^act-cat: --scale: 'inf' is not a number" act-cat --scale inf a.saes
exit_is 2 "^act-cat: --width: '1048577' is not a whole number from 1 to 1048576" act-cat --from raw -d 1048577 a.saes
exit_is 2 "^sae-encode: --min: '-1' is not a number from 0 up" sae-encode --min -1 s.sae a.saes
exit_is 2 "^sae-encode: --decode and --error exclude" sae-encode -d --error s.sae a.saes
exit_is 2 "^sae-topk: -f: '6' is not a feature from 0 to 5" sae-topk -f 6 c.saes
exit_is 2 "^sae-topk: -f: '' is not a feature" sae-topk -f 1,,2 c.saes
exit_is 2 "^sae-topk: --tokens goes with none of" sae-topk --tokens --random 3 c.saes
exit_is 2 "^sae-cossim: -k: '6' is not a rank from 1 to 5" sae-cossim -k 6 s.sae
exit_is 2 "^sae-cossim: -k: '0' is not a rank" sae-cossim -k 1,0 s.sae
exit_is 2 "^sae-cossim: --hubs: '0.5' is not LO,HI" sae-cossim --hubs 0.5 s.sae
exit_is 2 "^sae-cossim: --summary, --random, --matrix, --match, --hist and --hubs exclude" sae-cossim --matrix --summary s.sae
exit_is 2 "^sae-cossim: --neurons takes one" sae-cossim --neurons s.sae s.sae
exit_is 2 "^sae-patch: --at: '3:2' is not POS, LO:HI or last" sae-patch --at 3:2 s.sae a.saes
exit_is 2 "^sae-patch: --at: 'first' is not" sae-patch --at first s.sae a.saes
exit_is 2 "^sae-patch: edit 'zap 1': 'zap' is not zero, set" sae-patch -e 'zap 1' s.sae a.saes
exit_is 2 "^sae-patch: edit 'zero 6': '6' is not a feature from 0 to 5" sae-patch -e 'zero 6' s.sae a.saes
is "$(act-cat --head 0K a.saes | act-cat --to tsv | wc -l)" 1 'K is a thousand of nothing'
is "$(act-cat --head 1K a.saes | act-cat --to tsv | wc -l)" 3 'and a thousand rows are more than there are'
is "$(act-cat --hea 1 --to=tsv -- a.saes | wc -l)" 2 'names of options may be cut short; -- ends options'
exit_is 2 "^act-cat: unknown or ambiguous option --h" act-cat --h a.saes
is "$(act-cat a.saes --to tsv | wc -l)" 3 'options may stand behind operands'
is "$(PARALLEL_SEQ=1 act-cat --to tsv a.saes | wc -l)" 3 'under GNU parallel'

# ---- inputs that are not what a tool needs ----

: >empty
echo 'a text, not a stream' >text
mkdir folder
printf '\037\213\010\000' >old.gz
for tool in 'act-cat' 'act-cat --to tsv' 'act-cat --check' 'act-cat --info' 'sae-encode s.sae' 'sae-encode --error s.sae' \
    'sae-patch s.sae' 'sae-topk'; do
    name=${tool%% *}
    exit_is 3 "^$name: text: not a stream" $tool text
    exit_is 3 "^$name: empty: empty" $tool empty
    exit_is 3 "^$name: <stdin>: empty" $tool
    exit_is 3 "^$name: old.gz: gzip" $tool old.gz
    exit_is 3 "^$name: s.sae: not a stream" $tool s.sae
    exit_is 1 "^$name: folder: cannot open: Is a directory" $tool folder
    exit_is 1 "^$name: none: cannot open: No such file" $tool none
    exit_is 1 "^$name: none/a.saes: cannot open: No such file" $tool none/a.saes
    exit_is 1 "^$name: <stdin>: read error: Bad file descriptor" sh -c "exec $tool <&-"
    exit_is 1 "^$name: <stdin>: (cannot open|read error): Is a directory" sh -c "exec $tool <."
done
exit_is 3 '^act-cat: .[[]2J.*: not a stream' sh -c 'cp text "$(printf "\033[2J\n\n.")" && exec act-cat "$(printf "\033[2J\n\n.")"'
exit_is 3 '^sae-encode: a.saes: a stream of acts where codes are wanted' sae-encode -d s.sae a.saes
exit_is 3 '^sae-encode: c.saes: a stream of codes where acts are wanted' sae-encode s.sae c.saes
exit_is 3 '^sae-patch: c.saes: a stream of codes where acts are wanted' sae-patch s.sae c.saes
exit_is 3 '^sae-topk: a.saes: a stream of acts where codes are wanted' sae-topk a.saes
exit_is 3 '^sae-encode: wide.saes: rows are 5 wide, s.sae wants 4' sae-encode s.sae wide.saes
exit_is 3 '^sae-encode: more.saes: rows are 7 wide, s.sae wants 6' sae-encode -d s.sae more.saes
exit_is 3 '^sae-patch: wide.saes: rows are 5 wide, s.sae wants 4' sae-patch s.sae wide.saes
exit_is 3 '^sae-patch: more.saes: codes of width 7 where codes of 6' sae-patch -e 'mean 1 more.saes' s.sae a.saes
exit_is 3 '^sae-patch: bare.saes: no column pos' sae-patch --at 1 s.sae bare.saes
exit_is 3 '^sae-patch: bare.saes: no column ctx' sae-patch --at last s.sae bare.saes
exit_is 3 '^sae-patch: a.saes: no column text' sae-patch --token x s.sae a.saes
exit_is 3 '^sae-topk: c.saes: no column tok' sae-topk --tokens c.saes
for tool in 'sae-encode' 'sae-patch' 'sae-cossim'; do
    exit_is 3 "^$tool: text: not a safetensors file" $tool text a.saes
    exit_is 3 "^$tool: empty: too short" $tool empty a.saes
    exit_is 3 "^$tool: a.saes: not a safetensors file" $tool a.saes a.saes
    exit_is 1 "^$tool: folder/cfg.json: cannot open: No such file" $tool folder a.saes
    exit_is 1 "^$tool: none.sae: cannot open: No such file" $tool none.sae a.saes
done
exit_is 1 '^sae-patch: none: cannot open' sae-patch -f none s.sae a.saes
exit_is 2 "^sae-patch: text: line 1: edit 'a text" sae-patch -f text s.sae a.saes

# ---- outputs that cannot be ----

for tool in 'act-cat a.saes' 'act-cat --to tsv a.saes' 'act-cat --to npy a.saes' 'act-cat --info a.saes' 'sae-encode s.sae a.saes' \
    'sae-patch s.sae a.saes' 'sae-topk c.saes' 'sae-cossim s.sae'; do
    name=${tool%% *}
    exit_is 1 "^$name: none/out: cannot create: No such file" $tool -o none/out
    exit_is 1 "^$name: folder: cannot create: Is a directory" $tool -o folder
    exit_is 1 "^$name: a.saes/out: cannot create: Not a directory" $tool -o a.saes/out
    exit_is 1 "^$name: <stdout>: write error: Bad file descriptor" sh -c "exec $tool >&-"
    exit_is 0 '' sh -c "exec $tool -o out <&- >&- 2>&-"
    $tool >expected
    ok "$tool: with nothing open, the output is as ever" cmp out expected
    rm -f out
    ok "$tool: over its own input" sh -c "cp -p ${tool##* } own; ${tool% *} own -o own && ${tool% *} ${tool##* } --no-such 2>/dev/null; test -s own"
done
is "$(ls -A | grep -c part)" 0 'no temporary file is left'

# Binary data is not written to a terminal.
if script -qec true /dev/null </dev/null >/dev/null 2>&1; then      # where there are pseudo-terminals
    is "$(script -qec 'act-cat a.saes' /dev/null </dev/null | tr -d '\r')" \
        'act-cat: not writing binary data to a terminal: use -o FILE or a pipe' 'not to a terminal'
fi
done_testing
