#!/usr/bin/perl
# outputs: the name under which a file is written, whose it becomes, what a link leads to, and what is left when something
# other than the tool ends it.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use Fcntl qw(:flock);
use POSIX ();
use RefFiles;
use RefTest;
use Test::More;
use Time::HiRes qw(usleep);

system(qw(act-toy -q -d 4 -g 8 -n 50 -o a.saes)) == 0 or BAIL_OUT('act-toy');
my @cat = qw(act-cat --no-history);
system(@cat, qw(-o true a.saes)) == 0 or BAIL_OUT('act-cat');
my $true = file_read('true');

sub parts { return grep { -e } glob '.*.part sub/.*.part' }
sub mode { return sprintf '%o', (stat $_[0])[2] & 0777 }

# Start a command whose input is a pipe that stays open; returns (pid, handle of its input).
sub held {
    my (@command) = @_;
    pipe my $out, my $in or die;
    my $pid = fork // die;
    if (!$pid) {
        close $in;
        open STDIN, '<&', $out or die;
        open STDERR, '>', '.held' or die;
        exec @command or POSIX::_exit(127);
    }
    close $out;
    syswrite $in, $true or die;
    for (1 .. 200) {
        last if parts();
        usleep(20_000);
    }
    return ($pid, $in);
}

# ---- rights and links ----

file_write($_, 'old') for qw(secret shared);
chmod 0600, 'secret';
chmod 0664, 'shared';
runs(@cat, '-o', $_, 'a.saes') for qw(secret shared);
is(mode('secret') . ' ' . mode('shared'), '600 664', 'a file that is written anew keeps its rights');

mkdir 'sub';
file_write('sub/file', 'old');
symlink 'sub/file', 'link';
symlink 'sub/none', 'dangling';
runs(@cat, '-o', $_, 'a.saes') for qw(link dangling);
ok(-l 'link' && -l 'dangling' && file_read('sub/file') eq $true && file_read('sub/none') eq $true,
    'a link stays, and what it leads to is written');
symlink '/proc/self/fd/1', 'stdout';
for ([ './stdout', '>out' ], [ '/dev/fd/1', '>out' ], [ './stdout', '| cat >out' ], [ '/dev/fd/9', '9>out' ]) {
    unlink 'out';
    my $code = system "@cat -o $_->[0] a.saes $_->[1]";
    ok($code == 0 && -l 'stdout' && file_read('out') eq $true, "-o $_->[0] $_->[1]: through the link");
}
system q(sh -c '{ echo before; act-cat --no-history -o /dev/fd/1 a.saes; } >both');
is(file_read('both'), "before\n$true", 'behind what is there');
symlink '/dev/null', 'null';
runs(qw(act-cat -o null a.saes));
is(readlink 'null', '/dev/null', 'a link to a device stays');
symlink 'turn', 'turn';
misuse(1, qr/turn: cannot create: Too many levels/, qw(act-cat -o turn a.saes));

# ---- temporary names ----

# Two at once, in process number spaces of their own: both have the number 1.
SKIP: {
    skip 'no name spaces here', 2 if system 'unshare -pf true 2>/dev/null';
    my @writer = map { [ held(qw(unshare -pf act-cat --no-history -o one -)) ] } 1, 2;
    usleep(300_000);
    is(scalar(parts()), 2, 'two writers of one output with one process number have a file each');
    close $_->[1] for @writer;
    my @codes = map { waitpid $_->[0], 0; $? } @writer;
    is("@codes " . (file_read('one') eq $true), '0 0 1', 'and both end well');
}

# What a killed run leaves is known from what is being written.
{
    my ($pid, $in) = held(qw(act-cat -o part -));
    my ($code, undef, $err) = tool(qw(act-cat -o part a.saes));
    is("$code $err", '0 ', 'a file that is being written is not called left behind');
    kill 'KILL', $pid;
    waitpid $pid, 0;
    my @left = parts();
    misuse(0, qr/\Aact-cat: note: \Q$left[0]\E is what a killed run has left/, qw(act-cat -o part a.saes));
    misuse(0, qr{note: \./\Q$left[0]\E is what}, qw(act-cat -o ./part a.saes));
    runs(qw(act-cat -q -o part a.saes));
    runs(qw(act-cat -o par a.saes));
    my $ck = $left[0] =~ s/^\.part/.ck/r;
    rename $left[0], $ck;
    misuse(0, qr/\Asae-fit: note: \Q$ck\E is what a killed run has left/,
        qw(sae-fit --kind relu -b 8 --checkpoint ck -o s.sae a.saes));
    unlink $ck;
    runs(qw(act-cat -o part a.saes));
}
runs(@cat, '-o', 'n' x 255, 'a.saes');          # a name as long as may be

# ---- signals ----

for my $signal (qw(HUP INT QUIT ALRM TERM USR1 USR2 XCPU XFSZ PIPE)) {
    my ($pid, $in) = held(qw(act-cat -o signalled -));
    kill $signal, $pid;
    waitpid $pid, 0;
    ok($? & 127 && !parts() && !-e 'signalled', "SIG$signal ends it and leaves nothing") or diag("status $?, left ", parts());
    unlink parts();
}
{
    my $pid = fork // die;
    if (!$pid) {
        open STDERR, '>', '/dev/null' or die;
        exec 'bash', '-c', 'ulimit -f 8; ulimit -c 0; exec act-toy -q -n 100000 -o large' or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    ok(($? & 127) == POSIX::SIGXFSZ() && !parts() && !-e 'large', 'a limit on the size of files leaves nothing') or diag("status $?");
}

# ---- a mapped file that shrinks ----

SKIP: {
    skip 'a sanitizer has a handler of its own', 2 if $ENV{SANITIZE};
    system("$ENV{TOP}/tests/ref/mkmodel", qw(--vocab 264 --d-model 64 --heads 2 --layers 4 --d-mlp 256 --ctx 64 model)) == 0 or die;
    pipe my $out, my $in or die;
    my $pid = fork // die;
    if (!$pid) {
        close $in;
        open STDIN, '<&', $out or die;
        open STDERR, '>', 'err' or die;
        exec qw(act-dump -q -j2 -b 1 -m model -p resid_post.3 -o dumped -) or POSIX::_exit(127);
    }
    close $out;
    local $SIG{PIPE} = 'IGNORE';
    for (1 .. 200) {
        last if parts();
        usleep(20_000);
    }
    truncate 'model/model.safetensors', 4096;
    syswrite $in, 'some text ' x 100;
    close $in;
    waitpid $pid, 0;
    is($? >> 8, 1, 'weights that are cut short while they are in use: exit 1');
    ok(file_read('err') =~ m{\Aact-dump: model/model\.safetensors: cannot be read any more: [^\n]*\n\z} && !parts() && !-e 'dumped',
        'with one line, and nothing is left') or diag(file_read('err'));
}

done_testing();
