package RefTest;
# RefTest: what the cases in Perl share: run a tool and look at all of it, compare numbers, random numbers from a seed.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use Exporter 'import';
use POSIX ();
use RefFiles;
use Test::More ();

our @EXPORT = qw(tool runs misuse near_rows dense_rows random_rows gauss);

# Run a command; standard input is empty. Returns (exit code, standard output, standard error);
# a signal is 128 + its number.
sub tool {
    my (@command) = @_;
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        open STDIN, '<', '/dev/null' or die;
        open STDOUT, '>', '.stdout' or die;
        open STDERR, '>', '.stderr' or die;
        no warnings 'exec';
        exec { $command[0] } @command or print STDERR "$command[0]: $!\n";
        POSIX::_exit(127);
    }
    waitpid $pid, 0;
    return ($? & 127 ? 128 + ($? & 127) : $? >> 8, file_read('.stdout'), file_read('.stderr'));
}

# Run a command that must exit 0 and say nothing on standard error; its standard output. One test.
sub runs {
    my (@command) = @_;
    my ($code, $out, $err) = tool(@command);
    my $name = join ' ', @command;
    $name = substr($name, 0, 150) . '...' if length $name > 150;
    Test::More::ok($code == 0 && $err eq '', "runs: $name") or Test::More::diag("exit code $code: $err");
    return $out;
}

# Run a command that must exit with a code and one line on standard error that matches. One test.
sub misuse {
    my ($code, $regex, @command) = @_;
    my ($got, undef, $err) = tool(@command);
    Test::More::ok($got == $code && $err =~ /\A[^\n]*\n\z/ && $err =~ $regex, "exit $code: @command")
        or Test::More::diag("exit code $got: $err");
}

# Two matrices agree: every difference is at most $tol times the largest size in $want (at least 1). One test.
sub near_rows {
    my ($got, $want, $tol, $name) = @_;
    my ($largest, $worst, $where) = (1, 0, '');
    return Test::More::ok(0, "$name: " . @$got . " rows, not " . @$want) if @$got != @$want;
    for my $i (0 .. $#$want) {
        my ($g, $w) = ($got->[$i], $want->[$i]);
        return Test::More::ok(0, "$name: row $i is " . @$g . " wide, not " . @$w) if @$g != @$w;
        for (0 .. $#$w) {
            my $diff = abs($g->[$_] - $w->[$_]);
            ($worst, $where) = ($diff, "row $i, column $_: got $g->[$_], want $w->[$_]") if !($diff <= $worst);
            $largest = abs $w->[$_] if abs $w->[$_] > $largest;
        }
    }
    Test::More::ok($worst <= $tol * $largest, $name)
        or Test::More::diag("$where; difference $worst, largest value $largest");
}

# Rows of { index => value } as full rows.
sub dense_rows {
    my ($codes, $width) = @_;
    return [ map { my $row = $_; [ map { $row->{$_} // 0 } 0 .. $width - 1 ] } @$codes ];
}

sub gauss { return sqrt(-2 * log(1 - rand)) * cos(6.28318530717958648 * rand) }

# Gaussian numbers as f32 has them.
sub random_rows {
    my ($n, $width, $sigma) = @_;
    return [ map { round_to('f32', [ map { $sigma * gauss() } 1 .. $width ]) } 1 .. $n ];
}

1;
