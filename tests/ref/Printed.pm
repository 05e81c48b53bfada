package Printed;
# Printed: the commands of a text in Markdown and what it prints below them; run them, compare, write the text anew.
#
# A block of code (four blanks) whose first line begins with "$ " is a session. A line that begins so is a command; it goes
# on while it ends in |, \ or && or has an open quote. What follows up to the next command is what it prints, on both
# outputs; a last line "..." stands for any more. A session that begins with "$ make" takes minutes and is run only when
# asked for; "$ git clone" is not run.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use Exporter 'import';
use RefFiles;
use RefTest;

our @EXPORT = qw(printed_commands printed_run printed_differs printed_write);

# The commands as [ { command, want => [lines], line => number of the first line, from, to => lines of what it prints } ].
sub printed_commands {
    my ($file, $slow) = @_;
    my @lines = split /\n/, file_read($file);
    my ($in, $skip, @all) = (0, 0);
    for my $i (0 .. $#lines) {
        my $code = $lines[$i] =~ /^    (.*)/ ? $1 : undef;
        if (!defined $code) {
            $in = 0;
            next;
        }
        if (!$in) {
            $in = $code =~ /^\$ / ? 1 : -1;
            $skip = $code =~ /^\$ make / && !$slow;
        }
        next if $in < 0 || $skip;
        my $last = $all[-1];
        if ($code =~ /^\$ (.*)/) {
            push @all, { command => $1, want => [], line => $i + 1, from => $i + 1, to => $i };
        } elsif (!@{ $last->{want} } && goes_on($last->{command})) {
            $last->{command} .= "\n$code";
            @$last{qw(from to)} = ($i + 1, $i);
        } else {
            push @{ $last->{want} }, $code;
            $last->{to} = $i;
        }
    }
    return [ grep { $_->{command} !~ /^git clone/ } @all ];
}

sub goes_on {
    my ($command) = @_;
    return $command =~ /(?:\||\\|&&)$/ || ($command =~ tr/'//) % 2;
}

# Run them in one shell; adds { got => [lines], code }.
sub printed_run {
    my ($commands) = @_;
    my $here = "$ENV{TEST_TMP}/.printed";
    mkdir $here;
    my $script = "export LC_ALL=C.UTF-8\nset -o pipefail\n";
    for my $n (0 .. $#$commands) {
        $script .= "{ $commands->[$n]{command}\n} > $here/$n.out 2>&1; echo \$? > $here/$n.code\n";
    }
    file_write("$here/script", $script);
    tool('bash', "$here/script");
    for my $n (0 .. $#$commands) {
        $commands->[$n]{got} = -f "$here/$n.out" ? [ split /\n/, file_read("$here/$n.out") ] : ['not run'];
        $commands->[$n]{code} = -s "$here/$n.code" ? 0 + file_read("$here/$n.code") : -1;
    }
}

# Whole numbers agree to one part in ten, others to one in five: on another kind of CPU sums are rounded otherwise, and a fit
# of thousands of steps goes another way with them. Everything else is as it is.
sub line_differs {
    my ($got, $want) = @_;
    my $number = qr/-?\d+(?:\.\d+)?(?:e[-+]?\d+)?/;
    my @got = split /($number)/, $got;
    my @want = split /($number)/, $want;
    return 1 if @got != @want;
    for my $i (0 .. $#want) {
        next if $got[$i] eq $want[$i];
        my $tol = $want[$i] =~ /^-?\d+$/ ? 0.1 : 0.2;
        return 1 if $i % 2 == 0 || abs($got[$i] - $want[$i]) > $tol * abs $want[$i];
    }
    return 0;
}

# '' where a command did what the text says, else what is different. Lines may come in another order, as those of almost
# equal values do.
sub printed_differs {
    my ($command) = @_;
    my @want = @{ $command->{want} };
    my @got = @{ $command->{got} };
    my $said = join "\n", @got > 5 ? @got[ 0 .. 4 ] : @got;
    return "exit code $command->{code}: $said" if $command->{code};
    if (@want && $want[-1] eq '...') {
        pop @want;
        $#got = $#want if $#got > $#want;
    }
    return @got . " lines, not " . @want . ":\n$said" if @got != @want;
    for my $line (@want) {
        my ($at) = grep { !line_differs($got[$_], $line) } 0 .. $#got;
        return "got:  " . join("\n      ", @got) . "\nwant: $line" if !defined $at;
        splice @got, $at, 1;
    }
    return '';
}

# Write the text with what the commands printed; as many lines before "..." as there are.
sub printed_write {
    my ($file, $commands) = @_;
    my @lines = split /\n/, file_read($file), -1;
    for my $c (reverse @$commands) {
        my @got = @{ $c->{got} };
        @got = (@got[ 0 .. @{ $c->{want} } - 2 ], '...') if @{ $c->{want} } && $c->{want}[-1] eq '...';
        splice @lines, $c->{from}, $c->{to} - $c->{from} + 1, map { "    $_" } @got;
    }
    file_write($file, join "\n", @lines);
}

1;
