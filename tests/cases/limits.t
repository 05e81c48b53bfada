#!/usr/bin/perl
# limits: little memory, few processes, and small files that would cost much: one line and exit 1 or 3, never a hang.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;

plan skip_all => 'a sanitizer maps terabytes and keeps what is freed' if $ENV{SANITIZE};
delete $ENV{OPENBLAS_NUM_THREADS};
srand 3;
sae_write('s.sae', sae_random('relu', 8, 12));
system("$ENV{TOP}/tests/ref/mkmodel", qw(--vocab 264 --d-model 8 --heads 2 --layers 1 --ctx 64 model)) == 0 or BAIL_OUT('mkmodel');
file_write('text', 'some words and then some more of them ' x 40);
system(qw(act-toy -q -d 8 -g 16 -n 500 -o a.saes)) == 0 or BAIL_OUT('act-toy');

# Run under limits of bash's ulimit; no answer after 20 s is exit code 124.
sub limited { my ($limits, @words) = @_; return tool('bash', '-c', "$limits; exec timeout 20 \"\$@\"", 'bash', @words) }

# ---- address space ----

my @tools = ([qw(sae-cossim s.sae)], [qw(sae-encode -j2 -o c s.sae a.saes)], [qw(sae-fit -q -j2 --kind relu -x 2 -o f a.saes)],
    [qw(act-dump -q -j2 -m model -p hook_embed -o d text)], [qw(act-toy -q -j2 -n 100 -o t)]);
for my $name (map { $_->[0] } @tools) {
    my @codes = map { (limited('ulimit -v 120000', $name, $_))[0] } '--help', '--version';
    is("@codes", '0 0', "$name --help and --version with 120 MB of addresses");
}
for my $command (@tools) {
    my (%code, @wrong);
    for (my $kib = 80_000; $kib <= 720_000; $kib += 40_000) {
        my ($code, undef, $err) = limited("ulimit -v $kib", @$command);
        $code{$code}++;
        push @wrong, "$kib KiB: exit code $code: $err" if $code ? $code != 1 || $err !~ /\A$command->[0]: [^\n]*\n\z/ : $err ne '';
        push @wrong, "$kib KiB left " . join ' ', glob '.*.part' if glob '.*.part';
    }
    ok(!@wrong && $code{0}, "@$command: works, or one line, with 80 to 720 MB of addresses") or diag(join "\n", @wrong);
}

# ---- processes ----

SKIP: {
    skip 'not root', 2 if $>;
    mkdir "/tmp/limits.$$";
    system "cp s.sae a.saes $ENV{BIN}/sae-* /tmp/limits.$$; chmod -R a+rX /tmp/limits.$$";
    for ("sae-cossim s.sae", "sae-encode -j4 -o /dev/null s.sae a.saes") {
        my ($code, undef, $err) = tool('bash', '-c', "cd /tmp/limits.$$ && setpriv --reuid 65534 --clear-groups bash -c 'ulimit -u 1; exec ./$_'");
        is("$code $err", '0 ', "$_: with one process allowed");
    }
    system 'rm', '-rf', "/tmp/limits.$$";
}

# ---- memory runs out while threads compute ----

{
    my %seen;
    for my $n (map { 400 + 37 * $_ } 0 .. 40) {
        local @ENV{qw(LD_PRELOAD INJECT_ALLOC)} = ("$ENV{BUILD}/inject.so", "$n+");
        my ($code, undef, $err) = tool(qw(act-dump -q -j4 -b 2 -m model -p blocks.0.hook_resid_post -o out text));
        my $lines = () = $err =~ /\n/g;
        $seen{"exit $code, $lines lines, " . scalar(() = glob '.*.part') . ' left'}++;
        unlink 'out', glob '.*.part';
    }
    delete $seen{'exit 0, 0 lines, 0 left'};
    is(join('; ', sort keys %seen), 'exit 1, 1 lines, 0 left', 'four threads, memory ends: one line each time');
}

# ---- small files ----

# Exit code 3 with one line, the memory bounded by 64 MiB and the bytes of the file.
sub cheap {
    my ($name, $regex, $file, @command) = @_;
    local @ENV{qw(LD_PRELOAD INJECT_PEAK)} = ("$ENV{BUILD}/inject.so", 'peak');
    unlink 'peak';
    my ($code, undef, $err) = limited('ulimit -v 6000000', @command);
    my ($peak) = -e 'peak' ? file_read('peak') =~ /(\d+) kB/ : ();
    my $room = 64 * 1024 + int((-s $file) / 1024);
    ok($code == 3 && $err =~ /\A[^\n]*\n\z/ && $err =~ $regex && ($peak // 1e9) <= $room, "$name: exit 3, " . ($peak // 'unknown') . ' KiB')
        or diag("exit code $code, room $room KiB: $err");
}

sub zstd {
    my ($path, $text) = @_;
    open my $out, '|-', "zstd -q -f -o $path" or die;
    print $out $text;
    close $out or die;
}

my $values = sub { '{"a":[' . '{},' x $_[0] . '{}]}' };
my @dump = qw(act-dump -q -m hostile -p hook_embed -o d text);
sub hostile { system('rm -rf hostile; cp -r model hostile; chmod -R u+w hostile; rm hostile/' . $_[0]) == 0 or die; return "hostile/$_[0]" }

my $file = hostile('tokenizer.json');
zstd($file, $values->(3 << 20));
cheap('a tokenizer, compressed, of 9 MiB of values', qr/tokenizer\.json: unpacks to more/, $file, @dump);
zstd($file, $values->(2 << 20));
cheap('of 6 MiB', qr/tokenizer\.json: \d+ bytes of JSON hold so many values/, $file, @dump);
file_write($file, $values->(2 << 20));
cheap('not compressed', qr/tokenizer\.json: \d+ bytes of JSON hold so many values/, $file, @dump);
file_write($file, '{"a":"' . 'x' x (17 << 20) . '"}');
cheap('one string', qr/tokenizer\.json: a string of more than/, $file, @dump);
$file = hostile('config.json');
zstd($file, $values->(690_000));
cheap('a config', qr/config\.json: \d+ bytes of JSON hold so many values/, $file, @dump);
$file = hostile('model.safetensors');
file_write("$file.index.json", $values->(600_000));
cheap('an index', qr/index\.json: \d+ bytes of JSON hold so many values/, "$file.index.json", @dump);
my $header = $values->(520_000);
file_write('h.sae', pack('Q<', length $header) . $header);
cheap('a header of safetensors', qr/h\.sae: \d+ bytes of JSON hold so many values/, 'h.sae', qw(sae-cossim h.sae));

# The history is JSON inside a string of the metadata.
for ([ 3 << 20, qr/h\.sae: \d+ bytes of JSON hold so many/ ], [ 6 << 20, qr/h\.sae: a string of more/ ]) {
    my ($n, $regex) = @$_;
    my $whole = file_read('s.sae');
    my $length = unpack 'Q<', $whole;
    my $text = substr($whole, 8, $length);
    my $list = '[' . '{},' x $n . '{}]';
    $text =~ s/"__metadata__"\s*:\s*\{/"__metadata__":{"history":"$list",/ or die;
    $text .= ' ' x (-length($text) % 8);
    file_write('h.sae', pack('Q<', length $text) . $text . substr $whole, 8 + $length);
    cheap("a history of $n values", $regex, 'h.sae', qw(sae-fit --info h.sae));
}

# A stream of 40 bytes: a header that announces rows of 10000 numbers, and none of them there.
my $wide = stream_bytes({ v => 1, kind => 'acts', d => 10000, dtype => 'f32' }, []);
file_write('wide.saes', substr $wide, 0, index $wide, "\x93\xa1E");
cheap("a header alone, $_", qr/wide\.saes: record 1: cut short/, 'wide.saes', qw(sae-fit -q -o s.out), (split ' ', $_), 'wide.saes')
    for '--kind topk -k 3', '--kind topk --decay 0', '--kind relu --decay 0 --l1-warmup 0', '--kind pca';

# Text: a word and a line.
zstd('word.zst', 'a' x (40 << 20));
cheap('a word of 40 MiB', qr/word\.zst: a word of more than 1048576 bytes/, 'word.zst', qw(act-dump -q --tokenize -m model -o d word.zst));
zstd('line.zst', '{"text":"' . 'a ' x (20 << 20) . '"}');
cheap('a line of 40 MiB', qr/line\.zst: line 1: longer than 16777216 bytes/, 'line.zst',
    qw(act-dump -q --tokenize --input jsonl -m model -o d line.zst));
zstd('line.zst', '{"a":[' . '{},' x (1 << 20) . '{}]}');
cheap('a line of values', qr/line\.zst: line 1: \d+ bytes of JSON hold so many/, 'line.zst',
    qw(act-dump -q --tokenize --input jsonl -m model -o d line.zst));

# What is allowed is read, however its bytes come: a word just short of the limit, and one just beyond.
for ([ (1 << 20) - 100, 0 ], [ (1 << 20) + 70_000, 3 ]) {
    my ($n, $want) = @$_;
    file_write('word', 'one ' . 'a' x $n . ' two');
    my @codes = map { (tool('bash', '-c', "$_ | act-dump -q --tokenize -m model -o d -"))[0] } 'cat word', 'dd if=word bs=777 status=none';
    is("@codes", "$want $want", "a word of $n bytes, from a file and in small pieces");
}

done_testing();
