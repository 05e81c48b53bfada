package SaeRef;
# SaeRef: what a dictionary does, in double precision and straight from the formulas, independent of lib/: encode,
# decode, the edits of sae-patch, nearest features, top activations.
#
# A dictionary is { d, m, kind, apply, enc => m rows e_i, dec => m rows d_i, b_enc, b_dec, meta }. Codes are rows of
# { feature => value } without zeros.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use Exporter 'import';
use RefFiles;

our @EXPORT = qw(sae_random sae_write sae_read sae_encode sae_decode sae_error sae_patch codes_top cosines cosine_ranks);

sub dot {
    my ($x, $y) = @_;
    my ($i, $sum) = (0, 0);
    $sum += $_ * $y->[ $i++ ] for @$x;
    return $sum;
}

sub gauss { return sqrt(-2 * log(1 - rand)) * cos(6.28318530717958648 * rand) }

# Numbers as f32 has them.
sub gaussian {
    my ($n, $sigma) = @_;
    return round_to('f32', [ map { $sigma * gauss() } 1 .. $n ]);
}

sub unit_row {
    my ($d) = @_;
    my $row = gaussian($d, 1);
    my $norm = sqrt dot($row, $row);
    return round_to('f32', [ map { $_ / $norm } @$row ]);
}

# A random dictionary with unit decoder rows: tied (one matrix, no b_dec), or relu (two matrices,
# b_dec subtracted first).
sub sae_random {
    my ($kind, $d, $m) = @_;
    my @dec = map { unit_row($d) } 1 .. $m;
    my $tied = $kind eq 'tied';
    my @enc = map { my ($row, $g) = ($_, gaussian($d, 0.15)); round_to('f32', plus($row, $g)) } @dec;
    return { kind => $kind, d => $d, m => $m, dec => \@dec, b_enc => gaussian($m, 0.3), meta => {},
        enc => $tied ? \@dec : \@enc, b_dec => $tied ? [ (0) x $d ] : gaussian($d, 0.5), apply => $tied ? 0 : 1 };
}

sub sae_write {
    my ($path, $s) = @_;
    my ($d, $m) = @$s{qw(d m)};
    my @w_enc = map { my $j = $_; map { $_->[$j] } @{ $s->{enc} } } 0 .. $d - 1;
    my @w_dec = map { @$_ } @{ $s->{dec} };
    st_write($path, [ [ 'W_enc', 'F32', [ $d, $m ], \@w_enc ], [ 'W_dec', 'F32', [ $m, $d ], \@w_dec ],
            [ 'b_dec', 'F32', [$d], $s->{b_dec} ], [ 'b_enc', 'F32', [$m], $s->{b_enc} ] ],
        { format => 'saetools 1', kind => $s->{kind}, d_model => "$d", d_sae => "$m", activation_scale => '1',
            apply_b_dec_to_input => $s->{apply} ? 'true' : 'false' });
}

sub sae_read {
    my ($path) = @_;
    my $st = st_read($path);
    my ($meta, $dec, $by_input) = ($st->{meta}, st_rows($st, 'W_dec'), st_rows($st, 'W_enc'));
    my ($m, $d) = (scalar @$dec, scalar @{ $dec->[0] });
    die "$path: shapes disagree\n" if @$by_input != $d || @{ $by_input->[0] } != $m;
    die "$path: metadata disagree\n" if $meta->{d_model} ne $d || $meta->{d_sae} ne $m || $meta->{format} ne 'saetools 1';
    my @enc = map { my $j = $_; [ map { $_->[$j] } @$by_input ] } 0 .. $m - 1;
    return { kind => $meta->{kind}, d => $d, m => $m, dec => $dec, enc => \@enc, b_enc => st_flat($st, 'b_enc'),
        b_dec => st_flat($st, 'b_dec'), apply => $meta->{apply_b_dec_to_input} eq 'true', meta => $meta };
}

# f = relu(E (x - b_dec) + b_enc), without the subtraction where the dictionary says so.
sub sae_encode {
    my ($s, $rows) = @_;
    my @codes;
    for my $x (@$rows) {
        my @in = $s->{apply} ? map { $x->[$_] - $s->{b_dec}[$_] } 0 .. $#$x : @$x;
        my %f;
        for (0 .. $s->{m} - 1) {
            my $pi = dot(\@in, $s->{enc}[$_]) + $s->{b_enc}[$_];
            $f{$_} = $pi if $pi > 0;
        }
        push @codes, \%f;
    }
    return \@codes;
}

# sum of f_i d_i for one row.
sub combination {
    my ($s, $f) = @_;
    my @sum = (0) x $s->{d};
    for my $i (keys %$f) {
        my ($value, $row) = ($f->{$i}, $s->{dec}[$i]);
        $sum[$_] += $value * $row->[$_] for 0 .. $#sum;
    }
    return \@sum;
}

sub plus {
    my ($x, $y, $a) = @_;
    return [ map { $x->[$_] + ($a // 1) * $y->[$_] } 0 .. $#$x ];
}

# x_hat = f W_dec + b_dec
sub sae_decode {
    my ($s, $codes) = @_;
    return [ map { plus(combination($s, $_), $s->{b_dec}) } @$codes ];
}

# x - x_hat
sub sae_error {
    my ($s, $rows) = @_;
    my $hat = sae_decode($s, sae_encode($s, $rows));
    return [ map { plus($rows->[$_], $hat->[$_], -1) } 0 .. $#$rows ];
}

# Change f, a full list, as one edit says: [ verb, [features], value or list of values ]. For keep the others become 0.
sub edited {
    my ($f, $edit) = @_;
    my ($verb, $features, $v) = @$edit;
    my %named = map { $_ => 1 } @$features;
    for (0 .. $#$f) {
        next if ($verb eq 'keep') == !!$named{$_};
        $f->[$_] = $verb eq 'set' ? $v : $verb eq 'scale' ? $f->[$_] * $v : $verb eq 'add' ? $f->[$_] + $v
            : $verb eq 'mean' ? $v->[$_] : 0;
    }
}

# Rows with edits, in order, where $where->(row number) is true: x + sum (f' - f) d; with $replace the edited
# reconstruction, of every row, instead.
sub sae_patch {
    my ($s, $rows, $edits, $where, $replace) = @_;
    my @codes = map { my $row = $_; [ map { $row->{$_} // 0 } 0 .. $s->{m} - 1 ] } @{ sae_encode($s, $rows) };
    my @out;
    for my $i (0 .. $#$rows) {
        my @f = @{ $codes[$i] };
        if (!$where || $where->($i)) {
            edited(\@f, $_) for @$edits;
        }
        my %change = map { $f[$_] != $codes[$i][$_] ? ($_ => $f[$_] - $codes[$i][$_]) : () } 0 .. $#f;
        my %new = map { $_ => $f[$_] } 0 .. $#f;
        push @out, $replace ? plus(combination($s, \%new), $s->{b_dec}) : plus($rows->[$i], combination($s, \%change));
    }
    return \@out;
}

# The rows where a feature fires, most first (the earlier row first among equals): [ [ row, value ] ].
sub codes_top {
    my ($codes, $feature) = @_;
    return [ sort { $b->[1] <=> $a->[1] || $a->[0] <=> $b->[0] }
        map { ($codes->[$_]{$feature} // 0) > 0 ? [ $_, $codes->[$_]{$feature} ] : () } 0 .. $#$codes ];
}

# Cosines of each row of A to each of B.
sub cosines {
    my ($a, $b) = @_;
    my @norm = map { sqrt dot($_, $_) } @$b;
    return [ map { my $x = $_; my $n = sqrt dot($x, $x); [ map { dot($x, $b->[$_]) / ($n * $norm[$_]) } 0 .. $#$b ] } @$a ];
}

# For each row of a matrix of cosines: [ [ cosine, column ] ] from the largest, without the diagonal if $same.
sub cosine_ranks {
    my ($cosines, $same) = @_;
    my @ranks;
    for my $i (0 .. $#$cosines) {
        my $row = $cosines->[$i];
        push @ranks, [ sort { $b->[0] <=> $a->[0] || $a->[1] <=> $b->[1] }
            map { [ $row->[$_], $_ ] } grep { !$same || $_ != $i } 0 .. $#$row ];
    }
    return \@ranks;
}

1;
