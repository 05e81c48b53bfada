#!/usr/bin/perl
# faults: what is left when the disk is full, a call fails, memory runs out, the reader goes away or the tool is killed:
# an output that is complete, or none under its name, and one line that says why.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use POSIX qw(ENOSPC EIO WNOHANG);
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;
use Time::HiRes qw(time usleep);

plan skip_all => 'not with a sanitizer' if $ENV{SANITIZE};
my $inject = "$ENV{BUILD}/inject.so";
BAIL_OUT("no $inject: make it first") if !-e $inject;

srand 1;
my $s = sae_random('relu', 8, 12);
sae_write('s.sae', $s);
my @pos = (1 .. 6) x 2;
my %columns = (doc => [ (0) x 12 ], ctx => [ (0) x 6, (1) x 6 ], pos => \@pos, tok => [ 1 .. 12 ],
    text => [ map { " t$_" } 1 .. 12 ]);
stream_write('one.saes', 'acts', 8, random_rows(12, 8, 1), %columns, batch => 5, header => { hook => 'hook_embed' });
system('cat one.saes one.saes >a.saes; zstd -q -o a.saes.zst a.saes') == 0 or BAIL_OUT('zstd');
runs(qw(sae-encode -j1 -o c.saes s.sae a.saes));

# Every tool that writes, each way of writing. The last word is the input that its reader would see.
my @streams = ([qw(act-cat a.saes.zst)], [qw(act-cat -z --every 2 a.saes)], [qw(sae-encode s.sae a.saes)],
    [qw(sae-encode -d s.sae c.saes)], [ qw(sae-patch -q -e), 'zero 1-4', qw(--at last s.sae a.saes) ]);
my @tables = ([qw(act-cat --info a.saes)], [qw(act-cat --to tsv a.saes)], [qw(act-cat --to npy a.saes)],
    [qw(act-cat --to raw a.saes)], [qw(sae-topk -k 2 c.saes)], [qw(sae-cossim s.sae)], [qw(sae-cossim --summary s.sae)]);
my @all = (@streams, @tables);

# The two that make something out of a model or a stream, small.
system("$ENV{TOP}/tests/ref/mkmodel", qw(--vocab 264 --d-model 8 --heads 2 --layers 1 --ctx 8 model)) == 0 or BAIL_OUT('mkmodel');
file_write('text', 'a text of a few words');
my @dump = ([qw(act-dump -q -b 2 -m model -p blocks.0.hook_resid_post text)], [qw(act-dump -q --tokenize -m model text)],
    [qw(act-dump -q -z -m model -p logits text)]);
my @fit = ([qw(sae-fit -q --kind tied -x 1 --l1 0.1 -b 8 --buffer 16 a.saes)], [qw(sae-fit -q --kind relu -x 2 --l1 0.1 -b 8 a.saes)]);
system('act-dump', qw(-q -m model -p blocks.0.hook_resid_post -n 4 -o r.saes text)) == 0 or BAIL_OUT('act-dump');
my @splice = map { [ qw(act-splice -q -m model -p blocks.0.hook_resid_post), @$_, 'r.saes' ] } [qw(-k 2)], ['--summary'],
    ['--logits'], [qw(--generate 1 --temperature 0)];
push @all, @dump, @fit, @splice;

# The bytes that a command writes when nothing goes wrong.
my %truth;
sub truth {
    my ($command) = @_;
    return $truth{"@$command"} //= do {
        my ($code, undef, $err) = tool($command->[0], qw(-j1 -o truth), @$command[ 1 .. $#$command ]);
        BAIL_OUT("@$command: exit code $code: $err") if $code || !-s 'truth';
        my $out = file_read('truth');
        unlink 'truth';
        $out;
    };
}

sub files { return join ' ', sort grep { !/^\.(std|\.?$)/ } do { opendir my $d, '.' or die; readdir $d } }

# Run with a fault: (exit code, standard error, whether the fault happened). The output, if any, is out.
sub with_fault {
    my ($env, @command) = @_;
    unlink 'done', 'out';
    local @ENV{ qw(LD_PRELOAD INJECT_DONE), keys %$env } = ($inject, 'done', values %$env);
    my ($code, undef, $err) = tool($command[0], qw(-j1 -o out), @command[ 1 .. $#command ]);
    my $happened = -e 'done';
    unlink 'done';
    return ($code, $err, $happened);
}

# Let the N-th of something fail, N = 1, 2, ... until there are no more. A run either fails as it should, with one line and
# no file, or, where that is `allowed`, ends well with the true output. From 50 on N goes by `step`.
sub sweep {
    my ($name, $command, $env, $regex, $allowed, $step) = @_;
    my ($true, $before) = (truth($command), files());
    my ($n, $failed, @wrong) = (0, 0);
    while ($n < 3000) {
        $n += $n < 50 ? 1 : $step // 1;
        my ($code, $err, $happened) = with_fault($env->($n), @$command);
        my $out = -e 'out' ? file_read('out') : undef;
        unlink 'out';
        my $left = files();
        last if !$happened && $code == 0;
        my $clean = $code == 1 && $err =~ /\A$command->[0]: [^\n]*\n\z/ && $err =~ $regex && !defined $out;
        $clean ||= $code == 1 && $err =~ /: is complete, but/ && $env->(1)->{INJECT_CALL} =~ /^fsync/ && ($out // '') eq $true;
        my $fine = $allowed && $code == 0 && $err eq '' && defined $out && $out eq $true;
        push @wrong, "number $n: exit code $code, " . (defined $out ? length $out : 'no') . " bytes: $err" if !$clean && !$fine;
        push @wrong, "number $n left $left" if $left ne $before;
        system 'rm -f .*.part out.*' if $left ne $before;
        $failed++ if $clean;
    }
    ok(!@wrong && $failed && $n < 3000, "$name: @$command: $failed errors up to number $n")
        or diag(join "\n", @wrong[ 0 .. ($#wrong < 9 ? $#wrong : 9) ]);
}

# ---- a full disk ----

sub check_full {
    my ($command) = @_;
    open my $saved, '>&', \*STDOUT or die;
    for my $how ($command->[0] eq 'sae-fit' ? () : '>/dev/full', '-o /dev/full') {
        my ($tool, @rest) = @$command;
        my $words = join ' ', $tool, ($how =~ /^-/ ? $how : ()), map { "'$_'" } @rest;
        system "$words " . ($how =~ /^>/ ? $how : '>/dev/null') . " 2>err";
        my ($code, $err) = ($? >> 8, file_read('err'));
        ok($code == 1 && $err =~ /\A$tool: [^\n]*: write error: No space left on device\n\z/, "exit 1: $words $how")
            or diag("exit code $code: $err");
    }
    unlink 'err';
}

truth($_) for @all;
check_full($_) for @all;

for my $command (@all) {
    for ([ 'no room', ENOSPC, 'No space left' ], [ 'input/output error', EIO, 'Input/output error' ]) {
        my ($name, $errno, $regex) = @$_;
        sweep("write, $name", $command, sub { { INJECT_CALL => "write:$errno:$_[0]" } }, qr/out: write error: $regex/, 0);
    }
    sweep('fsync', $command, sub { { INJECT_CALL => 'fsync:' . EIO . ":$_[0]" } }, qr/out: (write error|is complete, but[^\n]*): Input/, 0);
    sweep('rename', $command, sub { { INJECT_CALL => 'rename:' . EIO . ":$_[0]" } }, qr/out: cannot rename/, 0);
    sweep('close', $command, sub { { INJECT_CALL => 'close:' . EIO . ":$_[0]" } }, qr/out: write error: Input/, 1);
}

# Standard output that fails only as it is closed, as it may be on a network's disk.
{
    my $seen = 0;
    for (1 .. 4) {
        local @ENV{qw(LD_PRELOAD INJECT_CALL)} = ($inject, 'close:' . EIO . ":$_");
        my ($code, undef, $err) = tool(qw(act-cat a.saes));
        $seen++ if $code == 1 && $err =~ /\Aact-cat: <stdout>: write error: Input[^\n]*\n\z/;
    }
    is($seen, 1, 'an error of standard output that comes as late as its closing is seen');
}

# A file that may not grow (ulimit -f counts blocks), the temporary file of --to npy included.
{
    stream_write('big.saes', 'acts', 64, random_rows(600, 64, 1));
    for ('-o out', '--to npy -o out', '--to npy --head 100 -o /dev/null', '-o out.zst') {
        my $code = system "bash -c 'trap \"\" XFSZ; ulimit -f 8; exec act-cat $_ big.saes' 2>err >/dev/null";
        ok($code >> 8 == 1 && file_read('err') =~ /\Aact-cat: [^\n]*write error: File too large\n\z/ && !-e 'out' && !-e 'out.zst',
            "a limit on the size of files: act-cat $_") or diag($code >> 8, ' ', file_read('err'));
    }
    unlink 'big.saes', 'err';
}

# ---- memory ----

# All of them for one filter each way, a part for the others.
for my $command (@all) {
    my $all = $command == $streams[1] || $command == $streams[2];
    sweep('memory', $command, sub { { INJECT_ALLOC => $_[0] } }, qr/: out of memory|Cannot allocate memory/, 1, $all ? 1 : 11);
}

# ---- short transfers and interrupts ----

for my $command (@all) {
    my ($code, $err) = with_fault({ INJECT_SHORT => 1 }, @$command);
    ok($code == 0 && $err eq '' && -e 'out' && file_read('out') eq truth($command),
        "one byte at a time, interrupted: @$command") or diag("exit code $code: $err");
}
unlink 'out';

# ---- a reader that goes away ----

stream_write('long.saes', 'acts', 8, random_rows(6000, 8, 1), batch => 500, ctx => [ map { int $_ / 50 } 0 .. 5999 ],
    pos => [ map { $_ % 50 } 0 .. 5999 ]);
runs(qw(sae-encode -j1 -o longc.saes s.sae long.saes));
for my $command (@streams, @tables[ 1 .. $#tables ], @dump) {
    my @words = map { s/^a\.saes(\.zst)?$/long.saes/r =~ s/^c\.saes$/longc.saes/r } @$command;
    my $line = join ' ', map { "'$_'" } @words;
    my $out = `bash -c "$line 2>err | head -c 1 | wc -c; echo \\\${PIPESTATUS[0]}"`;
    my ($bytes, $code) = $out =~ /\A\s*(\d+)\n(\d+)\n\z/ or fail("no counts: $out");
    ok($bytes == 1 && ($code == 141 || $code == 0) && !-s 'err', "$line | head -c 1: quiet") or diag("$out", file_read('err'));
}
is(`bash -c "act-cat long.saes | head -c 1 >/dev/null; echo \\\${PIPESTATUS[0]}"`, "141\n", 'SIGPIPE is what ends it');
unlink 'err';

# ---- kills ----

# At random moments of its life; the name is either not there, or complete. What a signal that can be caught leaves is nothing.
{
    my @rows = map { [ map { rand() - 0.5 } 1 .. 64 ] } 1 .. 400;
    stream_write('one.saes', 'acts', 64, \@rows, batch => 8);
    system 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do cat one.saes; done >long.saes';
    my $start = time;
    runs(qw(act-cat -o whole --scale 2 long.saes));
    my $life = time - $start;
    my $true = file_read('whole');
    my ($killed, $complete, $torn, $litter) = (0, 0, 0, 0);
    my $before = files();
    for my $turn (1 .. 44) {
        my $signal = $turn % 4 ? 'KILL' : 'TERM';
        my $pid = fork // die;
        if (!$pid) {
            open STDERR, '>', '/dev/null' or die;
            exec qw(act-cat -o out --scale 2 long.saes) or POSIX::_exit(127);
        }
        usleep(1e6 * $life * rand(1.2));
        kill $signal, $pid;
        waitpid $pid, 0;
        $killed++ if $? & 127;
        if (-e 'out') {
            file_read('out') eq $true ? $complete++ : $torn++;
            unlink 'out';
        }
        $litter++ if $signal eq 'TERM' && files() ne $before;
        unlink glob '.*.part out.*.part';
    }
    ok($torn == 0 && $killed >= 10, "killed $killed times: $complete complete, $torn torn") or diag("$life s");
    is($litter, 0, 'SIGTERM leaves no temporary file');
}

done_testing();
