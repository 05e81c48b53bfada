#!/usr/bin/perl
# fit: sae-fit as a command: what it refuses, its logs, several lambda at once, where a fit begins, resampling, threads,
# pipes, checkpoints, and that a run killed at any moment and resumed ends in the same bytes.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
no warnings 'qw';
use lib "$ENV{TOP}/tests/ref";
use JSON::PP ();
use POSIX qw(EIO SIGINT SIGTERM);
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;
use Time::HiRes qw(time usleep);

use constant { D => 12, ROWS => 1500 };

# Sparse sums of a few directions, off the origin.
srand 7;
my @truth = map { SaeRef::unit_row(D) } 1 .. 20;
sub sparse_rows {
    my ($n) = @_;
    return [ map {
        my @x = (0.1) x D;
        for my $g (@truth) {
            next if rand() > 0.12;
            my $a = rand;
            $x[$_] += $a * $g->[$_] for 0 .. D - 1;
        }
        round_to('f32', \@x);
    } 1 .. $n ];
}
stream_write('a.saes', 'acts', D, sparse_rows(ROWS), header => { hook => 'hook_embed', model => 'toy', rows => ROWS });
stream_write('held.saes', 'acts', D, sparse_rows(300));
stream_write('blind.saes', 'acts', D, sparse_rows(ROWS));       # does not state its rows
stream_write('zero.saes', 'acts', D, [ map { [ (0) x D ] } 1 .. 200 ]);
stream_write('one.saes', 'acts', D, sparse_rows(1));
stream_write('none.saes', 'acts', D, []);
stream_write('wide.saes', 'acts', D + 1, [ map { [ (1) x (D + 1) ] } 1 .. 20 ]);

my @fit = qw(sae-fit -q --buffer 200 -b 50);
my @relu = (@fit, qw(--kind relu -x 2 --l1 0.1 --normalize none));

sub same_files { my ($x, $y) = map { -e $_ ? file_read($_) : "no $_" } @_[ 0, 1 ]; return $x eq $y }
sub same { ok(same_files(@_), $_[2]) }
sub log_of { return [ map { delete $_->{seconds}; $_ } @{ (tsv_read(file_read($_[0])))[1] } ] }
sub weights { my ($file, $name) = @_; return st_rows(st_read($file), $name) }

# ---- what is refused ----

misuse(2, qr/-o SAE is required/, qw(sae-fit a.saes));
misuse(2, qr/--l1: '0.1,x' is not a list of numbers, each from 0 up/, @fit, qw(--l1 0.1,x -o x.sae a.saes));
misuse(2, qr/--l1: '0.1,' is not/, @fit, qw(--l1 0.1, -o x.sae a.saes));
misuse(2, qr/-o x.sae: several LAMBDA want \{l1\}/, @fit, qw(--kind tied --l1 0.1,0.2 -o x.sae a.saes));
misuse(2, qr/--log x.tsv: several LAMBDA want \{l1\}/, @fit, qw(--kind tied --l1 0.1,0.2 --log x.tsv -o x{l1}.sae a.saes));
misuse(2, qr/--l1: 0.1 is there twice/, @fit, qw(--kind tied --l1 0.1,0.2,0.1 -o x{l1}.sae a.saes));
misuse(2, qr/--l1: 0.10 is there twice/, @fit, qw(--kind tied --l1 0.1,0.10 -o x{l1}.sae a.saes));
misuse(2, qr/kind pca has no LAMBDA/, @fit, qw(--kind pca -o x{l1}.sae a.saes));
misuse(2, qr/--l1-units needs --l1/, @fit, qw(--l1-units sharkey -o x.sae a.saes));
misuse(2, qr/-x and --d-sae exclude/, @fit, qw(-x 2 --d-sae 3 -o x.sae a.saes));
misuse(2, qr/-k 300: there are 24 features, so 1 to 24/, @fit, qw(--kind topk -x 2 -k 300 -o x.sae a.saes));
misuse(2, qr/--k: '0' is not a whole number from 1/, @fit, qw(--kind topk -k 0 -o x.sae a.saes));
misuse(2, qr/--auxk 25: there are 24/, @fit, qw(--kind topk -x 2 -k 3 --auxk 25 -o x.sae a.saes));
misuse(2, qr/--prefixes 25: there are 24/, @fit, qw(--kind matryoshka -x 2 -k 3 --prefixes 25 -o x.sae a.saes));
misuse(2, qr/--target-l0 25: there are 24/, @fit, qw(--kind jumprelu -x 2 --target-l0 25 -o x.sae a.saes));
misuse(2, qr/--p-from 0.9 is behind --p-to 0.5/, @relu, qw(--p-end 0.5 --p-from 0.9 --p-to 0.5 -o x.sae a.saes));
misuse(2, qr/--init needs an encoder of one layer, not --enc-layers 2/, @relu, qw(--enc-layers 2 --init a.npy -o x.sae a.saes));
misuse(2, qr/--resample needs an encoder of one layer/, @relu, qw(--enc-layers 2 --resample anthropic -o x.sae a.saes));
misuse(2, qr/features|components|dimensions/, @fit, qw(--kind ica -x 4 -o x.sae a.saes));
misuse(2, qr/--every needs --checkpoint/, @fit, qw(--every 5 -o x.sae a.saes));
misuse(2, qr/--resample-every needs --resample anthropic/, @relu, qw(--resample-every 5 -o x.sae a.saes));
misuse(2, qr/--resample-rows 300: the shuffle buffer has 1 to 200/, @relu, qw(--resample anthropic --resample-rows 300
    -o x.sae a.saes));
misuse(2, qr/--epochs above 1 needs a file/, 'sh', '-c', 'cat a.saes | sae-fit -q --epochs 2 -o x.sae');
misuse(2, qr/--allow-nan/, @fit, qw(--allow-nan -o x.sae a.saes));

# An option a kind cannot honour names both.
for ([qw(relu -k 3)], [qw(relu --theta0 1)], [qw(relu --auxk 3)], [qw(relu --prefixes 2)], [qw(relu --iterations 3)],
    [qw(topk --l1 0.1)], [qw(topk --p-end 0.5)], [qw(topk --bandwidth 1)], [qw(tied --center mean)], [qw(tied --tied-init no)],
    [qw(fista --clip 1)], [qw(fista --resample anthropic)], [qw(pca --lr 1)], [qw(pca --l1 1)], [qw(pca --init a.npy)],
    [qw(identity --warmup 1)], [qw(random --normalize rms)], [qw(jumprelu --l1-by-norm yes)], [qw(nmf --decay 0.1)]) {
    my ($kind, $option, @value) = @$_;
    misuse(2, qr/\Q$option\E.* means nothing to kind $kind/, @fit, '--kind', $kind, $option, @value, qw(-o x.sae a.saes));
}

# Schedules that need the total, on a pipe that does not state it.
for ('--decay 0.1', '--p-end 0.5', '--resample anthropic', '--preset anthropic', '--preset anthropic-2024') {
    misuse(2, qr/needs the number of rows, which <stdin> does not state: give -n/, 'sh', '-c',
        "cat blind.saes | sae-fit -q --kind relu $_ -o x.sae");
}
runs('sh', '-c', 'cat blind.saes | sae-fit -q --kind relu -x 2 --resample anthropic --resample-every 9 -o x.sae');

misuse(1, qr/nowhere.saes: cannot open/, @fit, qw(-o x.sae nowhere.saes));
misuse(1, qr/cannot create/, @fit, qw(-o nowhere/x.sae a.saes));
misuse(1, qr/cannot create/, @fit, qw(-o x.sae --log nowhere/x.tsv a.saes));
misuse(1, qr/cannot create/, @fit, qw(-o x.sae --checkpoint nowhere/ck a.saes));
misuse(3, qr/no rows to fit/, @fit, qw(-o x.sae none.saes));
misuse(3, qr/rows are 13 wide, the fit wants 12/, @fit, qw(--eval wide.saes -o x.sae a.saes));
unlink 'x.sae';

# ---- no option changes another ----

for ([ 'relu --l1 1.5', 'relu' ], [ 'relu --normalize rms', 'relu' ], [ 'gated --l1-by-norm no', 'gated' ],
    [ 'jumprelu --l1-units canonical --l1 0.3', 'jumprelu --l1 0.3' ]) {
    runs(@fit, '--kind', (split ' ', $_->[0]), '-o', 'given.sae', 'a.saes');
    runs(@fit, '--kind', (split ' ', $_->[1]), '-o', 'plain.sae', 'a.saes');
    same('given.sae', 'plain.sae', "--kind $_->[0] is --kind $_->[1]");
}
for ([ cunningham => '8.6e-4' ], [ sharkey => '0.316' ], [ anthropic => '1.5' ], [ 'anthropic-2024' => '5' ]) {
    runs(@fit, '--preset', $_->[0], qw(-o plain.sae a.saes));
    runs(@fit, '--preset', $_->[0], '--l1', $_->[1], qw(-o given.sae a.saes));
    same('given.sae', 'plain.sae', "--preset $_->[0] --l1 $_->[1], which it has anyway");
}
for my $kind (qw(tied relu gated rescaled jumprelu fista rica)) {
    runs(@fit, '--kind', $kind, qw(-o plain.sae a.saes));
    my ($usual) = runs(qw(sae-fit --info plain.sae)) =~ / --l1 (\S+)/;
    runs(@fit, '--kind', $kind, '--l1', "0.05,$usual,9", qw(-o sweep{l1}.sae a.saes));
    same("sweep$usual.sae", 'plain.sae', "$kind: a sweep has the dictionary of no --l1 at the usual lambda, $usual");
}

# ---- what one gets who does not say ----

{
    my ($code, undef, $err) = tool(qw(sae-fit -b 50 -o plain.sae a.saes));
    like("$code$err", qr/\A0sae-fit: kind topk, 96 features, 3 of them a row \(-k\); rows scaled to [^\n]*; dead: not fired in 10000 rows\n/,
        'the kind and what goes with it is said');
    runs(@fit, qw(-k 4 -x 2 -o k.sae a.saes));
    is(st_read('k.sae')->{meta}{kind}, 'topk', '-k alone chooses a top-k kind');
    misuse(2, qr/--l1 means nothing to kind topk, the one without --kind: name another/, @fit, qw(--l1 0.1 -o x.sae a.saes));
    ($code, undef, $err) = tool('sh', '-c', 'cat blind.saes | sae-fit --kind batchtopk -k 3 -x 2 -b 50 -o blind.sae');
    like("$code$err", qr/\A0sae-fit: note: <stdin> does not state how many rows it has, so the rate will not fall at the end: give -n\n/,
        'a rate that falls by default does not refuse a pipe');
    is(st_read('a.sae')->{meta}{l1}, '0.1', 'a number of the metadata in the fewest digits') if runs(@relu, qw(-o a.sae a.saes));
}
SKIP: {
    skip 'a sanitizer maps terabytes', 1 if $ENV{SANITIZE};
    file_write('huge.saes', RefFiles::record_bytes('SAES', { v => 1, kind => 'acts', d => 1000000, dtype => 'f32' }));
    my ($code, undef, $err) = tool('bash', '-c', 'ulimit -v 400000; OPENBLAS_NUM_THREADS=1 exec sae-fit -q -j1 -x 0.01 -o x.sae huge.saes');
    ok($code == 3 && $err =~ /huge.saes/, "a header is not a reason to take memory: $err");
}

# ---- small and odd inputs have an answer ----

for my $kind (qw(tied relu gated rescaled topk batchtopk matryoshka jumprelu fista)) {
    my @k = $kind =~ /top|matr/ ? qw(-k 1) : ();
    runs(@fit, '--kind', $kind, @k, qw(--d-sae 1 -o x.sae a.saes));
    is(@{ weights('x.sae', 'W_dec') }, 1, "$kind: one feature");
    for my $in (qw(one zero)) {
        my ($code, undef, $err) = tool(@fit, '--kind', $kind, @k, qw(-x 2 -o x.sae --log x.tsv), "$in.saes");
        is("$code$err", 0, "$kind: $in.saes, fewer rows than a batch or all of them zero");
        is((scalar grep { !/^[-+.\de]+$/i || /nan|inf/ } map { values %$_ } @{ log_of('x.tsv') }), 0, "$kind: $in.saes, numbers");
    }
    unlink 'x.sae';
}

# ---- the log, held-out rows, history ----

runs(@relu, qw(--log a.tsv --log-every 7 --eval held.saes -o a.sae a.saes));
my ($names, $lines) = tsv_read(file_read('a.tsv'));
is("@$names", 'step rows loss mse fvu l0 dead lr seconds resampled eval_loss eval_mse eval_fvu eval_l0 eval_dead', 'the log');
is(join(' ', map { $_->{step} } @$lines), '7 14 21 28 30', 'a line each 7 steps, and of the rest');
is(join(' ', map { $_->{rows} } @$lines), '350 700 1050 1400 1500', 'rows');
cmp_ok($lines->[-1]{loss}, '<', $lines->[0]{loss}, 'the loss falls');
my (undef, undef, $said) = tool(qw(sae-fit --kind relu -x 2 --l1 0.1 --normalize none --buffer 200 -b 50 --eval held.saes -o b.sae a.saes));
like($said, qr/\Asae-fit: held-out rows: loss $lines->[-1]{eval_loss}, /, 'held-out rows at the end');
same('a.sae', 'b.sae', 'neither log nor held-out rows change the result');

my $meta = st_read('a.sae')->{meta};
is("$meta->{hook} $meta->{model} $meta->{rows}", 'hook_embed toy 1500', 'metadata of the rows go along');
my ($command) = map { $_->{value} } grep { $_->{key} eq 'command' } @{ (tsv_read(runs(qw(sae-fit --info a.sae))))[1] };
like($command, qr/^sae-fit .* -o a\.sae a\.saes$/, '--info prints a command');
rename 'a.sae', 'first.sae';
runs('sh', '-c', "$command -q");
same('a.sae', 'first.sae', 'which makes the file again');

# The command that is printed gives the same words, whatever is in them.
{
    my $odd = "it's a\\n \$(touch injected) \"\`b\`\xc3\xa9.npy";
    npy_write($odd, '<f4', [ 1, D ], [ (1) x D ]);
    runs(@fit, qw(--kind relu -x 2 -n 100 --init), $odd, qw(-o odd.sae a.saes));
    for my $json (0, 1) {
        my $out = runs(qw(sae-fit --info), $json ? '--json' : (), 'odd.sae');
        my ($line) = $json ? JSON::PP->new->utf8->decode($out)->{command} : $out =~ /^command\t(.*)$/m;
        utf8::encode($line) if $json;
        file_write('pasted', "sae-fit() { printf '%s\\n' \"\$@\"; }\n$line\n");
        my (undef, $words) = tool(qw(bash pasted));
        like($words, qr/^--init\n\Q$odd\E\n--/m, 'the command of --info' . ($json ? ' --json' : '') . ' quotes a name of any bytes');
    }
    ok(!-e 'injected', 'and runs nothing else');
}

# ---- several lambda in one pass ----

my @several = (@fit, qw(--kind relu -x 2 --resample anthropic --resample-every 6 --log-every 4));
runs(@several, qw(--l1 0.05,0.10,1.5 -o m{l1}.sae --log m{l1}.tsv a.saes));
for my $l1 (qw(0.05 0.10 1.5)) {
    runs(@several, '--l1', $l1, qw(-o s.sae --log s.tsv a.saes));
    same("m$l1.sae", 's.sae', "--l1 $l1: the file of a run by itself");
    is_deeply(log_of("m$l1.tsv"), log_of('s.tsv'), 'and its log');
}
my %args = @{ JSON::PP->new->decode(st_read('m0.10.sae')->{meta}{history})->[-1]{args} };
is($args{'--l1'}, 0.1, 'the history has the lambda of its own file');
runs(@fit, qw(--kind relu -x 2 -o u{l1}.sae a.saes));
ok(-e 'u1.5.sae', '{l1} of the usual lambda');

{
    my @wild = (@fit, qw(--kind relu -x 2 --lr 1e5));          # a lambda so large that nothing moves keeps it from diverging
    my ($code, undef, $err) = tool(grep({ $_ ne '-q' } @wild), qw(--l1 0.1,1e30 -o d{l1}.sae a.saes));
    ok($code == 3 && !-e 'd0.1.sae' && -e 'd1e30.sae', 'of two fits the one that diverges leaves no file');
    like($err, qr/^sae-fit: --l1 0.1: the fit diverges.*lower --lr.*; the other fits go on$/m, 'and says so');
    runs(@wild, qw(--l1 1e30 -o s.sae a.saes));
    same('d1e30.sae', 's.sae', 'and does nothing to the other');
}

# ---- threads, pipes, epochs ----

for my $kind (qw(tied relu gated topk batchtopk jumprelu pca)) {
    my @more = ('--kind', $kind, $kind =~ /topk/ ? qw(-k 4) : (), qw(-x 2 -b 300 --epochs 3 -s 5));
    runs(@fit, @more, qw(-j1 -o j1.sae a.saes));
    for (2, 3) {
        runs(@fit, @more, "-j$_", qw(-o jn.sae a.saes));
        same('j1.sae', 'jn.sae', "$kind: -j$_, the same bytes");
    }
}
runs(qw(sae-fit -q --no-history --kind relu -x 2 --decay 0.3 -o f.sae a.saes));
runs('sh', '-c', 'cat a.saes | sae-fit -q --no-history --kind relu -x 2 --decay 0.3 -o p.sae');
same('f.sae', 'p.sae', 'a pipe that states its rows gives what the file gives');
runs('sh', '-c', 'cat a.saes a.saes >aa.saes; sae-fit -q --no-history --buffer 1 --kind relu -x 2 --decay 0.3 -o f.sae aa.saes');
runs(qw(sae-fit -q --no-history --buffer 1 --epochs 2 --kind relu -x 2 --decay 0.3 -o p.sae a.saes));
same('f.sae', 'p.sae', 'two epochs are the rows twice');

# ---- options that bring numbers of their own: threads, watching and checkpoints still change nothing ----

for ('--kind relu --l1 0.1 --ortho 0.1 --ortho-kind chunks --clip 1', '--kind relu --l1 0.1 --ortho 0.01 --ortho-kind frame',
    '--kind relu --l1 0.1 --ortho 0.01 --ortho-kind max', '--kind relu --l1 0.1 --l1-by-norm yes --dec-norm 0.3 --tied-init no',
    '--kind gated --l1 0.1 --p-end 0.4 --p-from 0.2 --p-to 0.9', '--kind tied --l1 0.1 --p-end 0.4 --recon 0.5',
    '--kind batchtopk -k 3 --auxk 5 --dead-window 300', '--kind topk -k 3 --auxk 5 --dead-window 300 --ortho 1 --ortho-kind chunks',
    '--kind jumprelu --l1 0.1 --target-l0 4 --decay 0.4 --decay-shape cosine --warmup 9', '--kind fista --l1 0.1 --iterations 9',
    '--kind rica --l1 0.3 --recon 2', '--kind pca -k 3', '--kind relu --l1 0.1 --enc-layers 3 --inner gelu',
    '--kind topk -k 3 --enc-layers 2 --inner softplus') {
    my @more = split;
    runs(@fit, @more, qw(-x 2 --epochs 3 -b 150 -j1 -o j1.sae a.saes));
    runs(@fit, @more, qw(-x 2 --epochs 3 -b 150 -j3 --eval held.saes --log o.tsv --log-every 3 --checkpoint ock --every 1700
        -o j3.sae a.saes));
    same('j1.sae', 'j3.sae', $_);
    runs(@fit, @more, qw(-x 2 --epochs 3 -b 150 -j2 --resume ock -o j2.sae a.saes));
    same('j1.sae', 'j2.sae', "$_: resumed");
}

# ---- where it begins: with a rate of 0 nothing moves ----

my @still = (@fit, qw(--kind relu --l1-by-norm no --lr 0 --l1 0.1 -n 50 -o i.sae));
my @unit = @truth[ 0 .. 4 ];
npy_write('rows.npy', '<f4', [ 5, D ], [ map { 3 * $_ } map { @$_ } @unit ]);
npy_write('columns.npy', '<f8', [ D, 5 ], [ map { my $j = $_; map { $_->[$j] } @unit } 0 .. D - 1 ]);
st_write('model.safetensors', [ [ 'w', 'F32', [ 5, D ], [ map { @$_ } @unit ] ],
    [ 'square', 'F32', [ D, D ], [ map { @{ $truth[$_] } } 0 .. D - 1 ] ], [ 'b', 'F32', [D], [ (1) x D ] ] ]);
for (qw(rows.npy columns.npy model.safetensors:w)) {
    runs(@still, qw(--d-sae 8 --init), $_, 'a.saes');
    near_rows([ @{ weights('i.sae', 'W_dec') }[ 0 .. 4 ] ], \@unit, 1e-6, "--init $_");
}
my $enc = weights('i.sae', 'W_enc');
near_rows([ map { my $i = $_; [ map { $_->[$i] } @$enc ] } 0 .. 4 ], \@unit, 1e-6, 'the encoder begins as a copy');
runs(@still, qw(--d-sae 12 --init model.safetensors:square^T a.saes));
near_rows([ map { my $w = $_; my $n = sqrt SaeRef::dot($w, $w); [ map { $_ / $n } @$w ] }
    map { my $j = $_; [ map { $_->[$j] } @truth[ 0 .. D - 1 ] ] } 0 .. D - 1 ], weights('i.sae', 'W_dec'), 1e-5, 'columns by ^T');
misuse(3, qr/5 rows to begin from, but only 4 features/, @still, qw(--d-sae 4 --init rows.npy a.saes));
misuse(3, qr/no tensor q/, @still, qw(--init model.safetensors:q a.saes));
misuse(3, qr/1 dimensions where a matrix is wanted/, @still, qw(--init model.safetensors:b a.saes));
misuse(3, qr/has no columns of width 12/, @still, '--init', 'model.safetensors:w^T', 'a.saes');
misuse(1, qr/cannot open/, @still, qw(--init nowhere.npy a.saes));
misuse(3, qr/no rows of width 13/, @fit, qw(--init rows.npy -o x.sae wide.saes));
misuse(3, qr/a dictionary of rows 12 wide, the rows are 13 wide/, @fit, qw(--init a.sae -o x.sae wide.saes));

my $s = sae_random('relu', D, 10);
sae_write('start.sae', $s);
runs(@still, qw(--d-sae 10 --normalize rms --init start.sae a.saes));
my $got = sae_read('i.sae');
near_rows($got->{$_}, $s->{$_}, 1e-5, "--init of a dictionary: $_") for qw(enc dec);
near_rows([ $got->{$_} ], [ $s->{$_} ], 1e-5, "--init of a dictionary: $_") for qw(b_enc b_dec);
my $rows = sparse_rows(40);
for (qw(gated jumprelu batchtopk tied)) {       # what it computes is what it began from, whatever the kind
    runs(@fit, '--kind', $_, /topk/ ? qw(-k 10) : /jump/ ? qw(--theta0 1e-9) : (), qw(--lr 0 -n 50 --d-sae 10 --normalize none),
        (/topk/ ? () : qw(--l1 0.1)), qw(-o i.sae --init start.sae a.saes));
    my $start = st_read('i.sae');
    near_rows(weights('i.sae', 'W_dec'), $s->{dec}, 1e-5, "--init into kind $_");
}
(undef, undef, $said) = tool(qw(sae-fit -v -j1 --kind relu --lr 0 --l1 0.1 --d-sae 10 -o i.sae --init start.sae a.saes));
like($said, qr/MMCS of what start.sae gave to the result: 1\.0000/, 'how far it has gone from there, with -v');

# orthogonal: 12 rows of 12
runs(@fit, qw(--kind relu --lr 0 --l1 0.1 -n 50 -x 1 --dec-init orthogonal -o i.sae a.saes));
my $dec = weights('i.sae', 'W_dec');
near_rows([ map { my $x = $_; [ map { SaeRef::dot($x, $_) } @$dec ] } @$dec ], [ map { my $i = $_; [ map { $_ == $i ? 1 : 0 } 0 .. D - 1 ] }
    0 .. D - 1 ], 1e-5, '--dec-init orthogonal');
runs(@fit, qw(--preset sharkey -n 50 -o i.sae a.saes));
is_deeply(st_flat(st_read('i.sae'), 'b_dec'), [ (0) x D ], 'sharkey has no b_dec');

# ---- resampling ----

$s->{b_enc}[$_] = -50 for 1, 4, 7;              # cannot fire
sae_write('dead.sae', $s);
my @resample = (qw(sae-fit --kind relu --l1 0.1 --normalize none --buffer 200 -b 50 --d-sae 10 --init dead.sae --log r.tsv --log-every 5),
    qw(--resample anthropic --resample-every 10 --resample-times 1 -o r.sae));
(undef, undef, $said) = tool(@resample, qw(-v a.saes));
like($said, qr/step 10: 3 dead features, 3 of them resampled from 200 rows, whose mean loss was [\d.]+\n/, 'resampling is said');
is(join(' ', sort $said =~ /resampled feature (\d+) as row \d+ of the buffer, loss [\d.]+\n/g), '1 4 7', 'each feature of it');
is(join(' ', map { $_->{resampled} } @{ log_of('r.tsv') }), '0 3 0 0 0 0', 'and how many, in the log');
cmp_ok(st_flat(st_read('r.sae'), 'b_enc')->[$_], '>', -5, "feature $_ begins anew") for 1, 4, 7;
runs(@resample, qw(-q -n 450 a.saes));
is(st_flat(st_read('r.sae'), 'b_enc')->[1], -50, 'no event before its step');

# ---- what ends a fit ----

unlink 'x.sae';
for my $kind (qw(relu gated rescaled topk batchtopk matryoshka jumprelu)) {
    my @k = $kind =~ /top|matr/ ? qw(-k 4) : ();
    misuse(3, qr/the fit diverge[sd].*lower --lr/, @fit, '--kind', $kind, @k, qw(--lr 1e5 -x 2 -o x.sae a.saes));
    ok(!-e 'x.sae', 'and no file') or unlink 'x.sae';
}
for my $kind (qw(tied relu gated rescaled jumprelu fista)) {
    for my $l1 (qw(1e6 1e30)) {
        my ($code, undef, $err) = tool(qw(sae-fit -b 50 --kind), $kind, qw(-x 2 -o x.sae a.saes --l1), $l1);
        ok($code == 0 && $err =~ /\Asae-fit: note: [^\n]*: lower --l1[^\n]*\n\z/, "$kind, lambda $l1: $err");
        is((scalar grep { $_ * 0 ne '0' } map { @$_ } @{ weights('x.sae', 'W_dec') }), 0, 'and the numbers are finite');
    }
}
unlink 'x.sae';
stream_write('big.saes', 'acts', D, [ map { my $s = $_ % 3 - 1; [ map { $s * $_ % 2 ? 3e38 : -2e38 } 1 .. D ] } 1 .. 100 ]);
{
    my ($code, undef, $err) = tool(@relu, qw(-o x.sae big.saes));
    ok($code == 3 && $err =~ /lower|finite/ && !-e 'x.sae', "rows too large to square: $err");
}
runs(@relu, qw(--checkpoint ck --every 500 -o x.sae a.saes));
my $state = file_read('ck');
{
    my ($code, undef, $err) = tool(@relu, qw(--lr 1e6 --checkpoint ck --every 100000 -o y.sae a.saes));
    ok($code == 3 && !-e 'y.sae' && file_read('ck') eq $state, 'a fit that diverges leaves the checkpoint that is there');
}

# ---- checkpoints ----

same('x.sae', 'first.sae', 'keeping checkpoints changes nothing');
runs(@relu, qw(--resume ck -o y.sae a.saes));
same('y.sae', 'x.sae', 'from the last checkpoint');
for ([qw(--lr 0.004)], [qw(--seed 3)], [qw(-n 1400)], [qw(--clip 3)]) {
    misuse(2, qr/--resume ck: $_->[0] is|--resume ck: --(?:rows) is/, @relu, @$_, qw(--resume ck -o y.sae a.saes));
}
misuse(2, qr/--resume ck: --l1 is 0.2, in the checkpoint it is 0.1/, @relu, qw(--l1 0.2 --resume ck -o y.sae a.saes));
misuse(2, qr/--resume ck: --l1-by-norm is no, in the checkpoint it is yes/, @relu, qw(--l1-by-norm no --resume ck -o y.sae
    a.saes));
misuse(3, qr/held.saes: 300 rows, but the checkpoint has used 1500|not the rows/, @relu, qw(--resume ck -o y.sae held.saes));
misuse(3, qr/blind.saes: not the rows that the checkpoint has used/, @relu, qw(--resume ck -o y.sae blind.saes));
misuse(1, qr/cannot open/, @relu, qw(--resume nowhere -o y.sae a.saes));
misuse(3, qr/not a checkpoint of a fit/, @relu, qw(--resume a.sae -o y.sae a.saes));
for my $at (200, int(length($state) / 2), length($state) - 1) {
    my $bad = $state;
    substr($bad, $at, 1) = chr(ord(substr $bad, $at, 1) ^ 1);
    file_write('bad', $bad);
    my ($code, undef, $err) = tool(@relu, qw(--resume bad -o z.sae a.saes));
    ok($code == 3 && !-e 'z.sae', "a checkpoint with a wrong bit at byte $at: $err");
}
file_write('bad', substr $state, 0, 1000);
misuse(3, qr/bad: /, @relu, qw(--resume bad -o z.sae a.saes));

# Every kind goes on as if nothing had been; the log too.
for my $kind (qw(tied relu gated rescaled topk batchtopk matryoshka jumprelu rica fista pca ica nmf random identity)) {
    my @more = ('--kind', $kind, $kind =~ /top|matr/ ? qw(-k 4) : (), $kind eq 'nmf' ? qw(-x 0.5) : qw(-x 2), '--log-every', 4);
    push @more, qw(--resample anthropic --resample-every 7) if $kind =~ /tied|relu$|gated|^topk/ && $kind ne 'jumprelu';
    runs(@fit, @more, qw(--log whole.tsv -o whole.sae a.saes));
    runs(@fit, @more, qw(--log part.tsv --checkpoint kck --every 850 -o part.sae a.saes));
    unlink 'part.sae';
    runs(@fit, @more, qw(--log part.tsv --resume kck -o part.sae a.saes));
    same('part.sae', 'whole.sae', "$kind: resumed");
    is_deeply(log_of('part.tsv'), log_of('whole.tsv'), "$kind: its log");
    unlink 'kck';
}

# ---- kills ----

# Start a command, send it a signal when $when says so, and wait: its wait status.
sub killed_when {
    my ($when, $signal, @command) = @_;
    my $pid = fork // die;
    if (!$pid) {
        open STDERR, '>', 'killed.err' or die;
        exec @command or POSIX::_exit(127);
    }
    $when->();
    kill $signal, $pid;
    waitpid $pid, 0;
    return $?;
}

sub killed_after {
    my ($seconds, @rest) = @_;
    return killed_when(sub { usleep(1e6 * $seconds) }, @rest);
}

# Wait until a log has so many lines, and, if `still`, no more have come for a while; a minute at most.
sub wait_lines {
    my ($log, $lines, $still) = @_;
    my ($end, $last, $since) = (time + 60, -1, time);
    while (time < $end) {
        my $have = -e $log ? () = file_read($log) =~ /\n/g : 0;
        ($last, $since) = ($have, time) if $have != $last;
        return if $have >= $lines && (!$still || time - $since > 0.5);
        usleep(1000);
    }
}

my @long = (qw(sae-fit -q -j1 --buffer 300 -b 20 --epochs 25));
my @runs = (
    [ [ @long, qw(--kind relu -x 2 --l1 0.1,0.3 --resample anthropic --resample-every 100 --decay 0.2 --log k{l1}.tsv) ], 'k{l1}.sae',
        'k0.1.sae', 'k0.3.sae' ],
    [ [ @long, qw(--kind batchtopk -k 4 -x 4 --auxk 8 --dead-window 2000) ], 'k.sae', 'k.sae' ],
    [ [ @long, qw(--kind tied -x 4 --p-end 0.5) ], 'k.sae', 'k.sae' ],
);
my ($kills, $wrong, $rounds) = (0, 0, 0);
for my $r (@runs) {
    my ($command, $pattern, @files) = @$r;
    my ($began, $enough) = (time, $kills + 17);
    runs(@$command, '-o', $pattern, 'a.saes');
    my $life = time - $began;
    rename $_, "true.$_" for @files;
    rename 'k0.1.tsv', 'true.tsv' if $pattern =~ /l1/;
    my @again = (@$command, qw(--checkpoint kill.ck --every 700 --resume kill.ck -o), $pattern, 'a.saes');
    for (my $round = 0; $kills < $enough && $round < 80; $round++, $rounds++) {
        unlink 'kill.ck', @files;
        for (1 .. 3) {      # one that ended before the signal came leaves nothing more to interrupt
            my $killed = (killed_after($life * rand(0.9), 'KILL', @again) & 127) == 9;
            $kills += $killed;
            last if !$killed;
        }
        tool(@again);
        $wrong += grep { !same_files($_, "true.$_") } @files;
        $wrong++ if $pattern =~ /l1/ && !eval { Test::More::eq_array(log_of('k0.1.tsv'), log_of('true.tsv')) };
    }
    unlink map { ($_, "true.$_") } @files;
}
cmp_ok($kills, '>=', 50, "killed $kills times, in $rounds fits");
is($wrong, 0, 'and every result is byte for byte that of a run without a break');
unlink glob '.*.part';

# SIGTERM and SIGINT write a checkpoint first, and are what the program ends by.
{
    my @command = (@long, qw(--kind tied -x 4 -o t.sae));
    runs(@command, 'a.saes');
    rename 't.sae', 'true.sae';
    my ($caught, $late, @wrong) = (0, 0);
    for (my $turn = 0; $caught < 12 && $turn < 80; $turn++) {
        unlink 't.ck', 't.sae', 't.tsv';
        my ($signal, $number) = $turn % 2 ? ('TERM', SIGTERM) : ('INT', SIGINT);
        my $lines = 2 + int rand 600;               # of 1875
        my $status = killed_when(sub { wait_lines('t.tsv', $lines) }, $signal, @command,
            qw(--log t.tsv --log-every 1 --checkpoint t.ck --every 1G a.saes));
        if ($status == 0 && same_files('t.sae', 'true.sae')) {      # it was done before the signal came
            $late++;
            next;
        }
        $caught++;
        my $reached = () = file_read('t.tsv') =~ /\n/g;
        push @wrong, "SIG$signal, log of $reached lines: status $status, checkpoint " . (-e 't.ck' ? 'there' : 'missing')
            if $status != $number || !-e 't.ck';
        tool(@command, qw(--resume t.ck a.saes));
        push @wrong, "SIG$signal, log of $reached lines: other bytes" if !same_files('t.sae', 'true.sae');
    }
    ok($caught == 12 && !@wrong, "stopped by a signal $caught times, and gone on to the same bytes ($late came too late)")
        or diag(join "\n", @wrong, file_read('killed.err'));
}

# One who stops a fit is told how to go on.
{
    my @command = (qw(sae-fit -j1 --buffer 300 -b 20 --kind tied -x 4 --epochs 400 -o), "it's.sae", qw(--log p.tsv --log-every 1 --checkpoint p.ck a.saes));
    killed_when(sub { wait_lines('p.tsv', 5) }, 'INT', @command);
    my ($rows, $line) = file_read('killed.err') =~ /^sae-fit: stopped after (\d+) rows, the state is in p\.ck; to go on: (sae-fit .*)$/m;
    ok($line && $line =~ /a\.saes --resume p\.ck$/ && $rows, 'SIGINT: a command to go on') or diag(file_read('killed.err'));
    my ($code, undef, $err) = tool('bash', '-c', ($line // 'false') . ' --every 100K');
    ok($code == 0 && -e "it's.sae", 'which goes on') or diag($err);
}

# Resumed behind the last step, before the last line of the log was written.
SKIP: {
    skip 'the injector does not go with a sanitizer', 1 if $ENV{SANITIZE};
    my @command = (@relu, qw(--log l.tsv --log-every 7 --checkpoint l.ck --every 1500 -o l.sae a.saes));
    runs(@command);
    my $want = log_of('l.tsv');
    unlink 'l.ck';
    {
        local @ENV{qw(LD_PRELOAD INJECT_CALL)} = ("$ENV{BUILD}/inject.so", 'rename:' . EIO . ':2');
        tool(@command);
    }
    runs(@command, qw(--resume l.ck));
    is_deeply(log_of('l.tsv'), $want, 'resumed behind the last step: the last line of the log is the same');
}

# Whatever happens to the result, the work is in the checkpoint: the second rename, that of the dictionary, fails.
SKIP: {
    skip 'the injector does not go with a sanitizer', 3 if $ENV{SANITIZE};
    my @command = (@long, qw(--kind tied -x 4 -o late.sae));
    my ($code, $err);
    {
        local @ENV{qw(LD_PRELOAD INJECT_CALL)} = ("$ENV{BUILD}/inject.so", 'rename:' . EIO . ':2');
        ($code, undef, $err) = tool(@command, qw(--checkpoint late.ck --every 1G a.saes));
    }
    ok($code == 1 && $err =~ /late\.sae: cannot rename/ && -e 'late.ck' && !-e 'late.sae', "the result cannot be written: $err");
    runs(@command, qw(--resume late.ck a.saes));
    same('late.sae', 'true.sae', 'and is made from the checkpoint');
}

# A pipe whose writer goes away: what was done is kept; the same rows once more, and it is as if nothing had been.
{
    my @command = qw(sae-fit -q --buffer 300 -b 20 --kind tied -x 4 -o q.sae);
    runs('sh', '-c', "cat a.saes | @command");
    rename 'q.sae', 'true.sae';
    my $part = int((-s 'a.saes') * 0.7);
    my ($code, undef, $err) = tool('sh', '-c', "head -c $part a.saes | @command --checkpoint q.ck");
    ok($code == 3 && -e 'q.ck' && !-e 'q.sae', "a stream cut short: $err");
    runs('sh', '-c', "cat a.saes | @command --resume q.ck");
    same('q.sae', 'true.sae', 'on a pipe the input is read again');
    my $status = killed_when(sub { wait_lines('w.tsv', 2, 1) }, 'TERM', 'bash', '-c',
        "exec @command --log w.tsv --log-every 1 --checkpoint w.ck < <(head -c $part a.saes; exec sleep 90)");
    ok(($status & 127) == SIGTERM && -e 'w.ck', 'a signal while the pipe is silent');
    runs('sh', '-c', "cat a.saes | @command --resume w.ck");
    same('q.sae', 'true.sae', 'and that checkpoint too is good');
}
done_testing();
