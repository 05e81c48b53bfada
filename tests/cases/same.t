#!/bin/sh
# same: the same input, options and seed give the same bytes, whatever the number of threads, and inputs from a file or a pipe.
# SPDX-License-Identifier: MIT
. "$TOP/tests/tap.sh"

perl -I"$TOP/tests/ref" -e 'use RefFiles; use SaeRef; use RefTest;
srand 7; sae_write("a.sae", sae_random("relu", 24, 700)); sae_write("b.sae", sae_random("tied", 24, 90));
my $n = 1500;
stream_write("a.saes", "acts", 24, random_rows($n, 24, 1), batch => 400, ctx => [ map { int $_ / 50 } 0 .. $n - 1 ],
    pos => [ map { $_ % 50 } 0 .. $n - 1 ], tok => [ map { $_ % 17 } 0 .. $n - 1 ], text => [ map { " t" . $_ % 17 } 0 .. $n - 1 ]);' || exit 1
cat a.saes a.saes >two.saes
ok 'codes' sae-encode -o c.saes a.sae two.saes

while read -r line; do
    tool=${line%% *}
    rest=${line#* }
    ok "$line" sh -c "$tool -j1 $rest >first"
    for threads in '-j1' '-j2' '-j8' ''; do
        ok "$tool $threads $rest" sh -c "$tool $threads $rest >again && cmp first again"
    done
    ok 'something came of it' test -s first
done <<EOT
act-cat --every 3 -t bf16 two.saes
act-cat -z two.saes
act-cat --to tsv two.saes
sae-encode a.sae two.saes
sae-encode --error a.sae two.saes
sae-encode -d a.sae c.saes
sae-patch -e 'scale all 0.5' -e 'zero 3' a.sae two.saes
sae-patch --at last -e 'add 3 1' a.sae two.saes
sae-patch --replace a.sae two.saes
sae-cossim -k 1,10 a.sae
sae-cossim --summary a.sae b.sae
sae-cossim --random -s 5 b.sae
sae-cossim --hubs -1,1 a.sae b.sae
sae-cossim --hist 10 a.sae
sae-topk -k 3 c.saes
sae-topk -k 3 --random 2 --quantiles 3 --distinct -s 9 c.saes
sae-topk --tokens --alive c.saes
EOT

# Codes do not depend on how rows are cut into batches.
perl -I"$TOP/tests/ref" -e 'use RefFiles; my $x = stream_read("a.saes")->[0]{x};
stream_write("batch$_.saes", "acts", 24, $x, batch => $_) for 1, 37, 1500;' || exit 1
for batch in 1 37 1500; do
    sae-encode a.sae batch$batch.saes | act-cat --to tsv >codes$batch
done
ok 'rows one by one or in batches of 37: the same codes' cmp codes1 codes37
ok 'or all in one batch' cmp codes1 codes1500

sae-topk -s 1 --random 3 c.saes >one
sae-topk -s 2 --random 3 c.saes >two
ok 'another seed, other samples' not cmp one two

# From a pipe as from a file; only the name in the history differs.
sae-encode --no-history a.sae two.saes >file
ok 'from a pipe' sh -c 'cat two.saes | sae-encode --no-history a.sae - >pipe && cmp file pipe'
ok 'from a slow pipe' sh -c 'perl -e "\$/ = \\7; \$| = 1; while (<>) { print }" two.saes | sae-encode --no-history a.sae >pipe && cmp file pipe'
ok 'to a file as to a pipe' sh -c 'sae-encode --no-history -o named a.sae two.saes && cmp file named'
done_testing
