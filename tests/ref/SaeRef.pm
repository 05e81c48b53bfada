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

our @EXPORT = qw(sae_random sae_write sae_read sae_encode sae_decode sae_error sae_patch codes_top cosines cosine_ranks
    row_stats feature_stats direction_stats best_pairing);

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

# ---- sae-stat ----

sub mean {
    my $sum = 0;
    $sum += $_ for @_;
    return $sum / @_;
}

# E (v - c)^p
sub moment {
    my ($v, $p, $c) = @_;
    return mean(map { ($_ - $c)**$p } @$v);
}

sub covariance {
    my ($x, $y) = @_;
    my ($mx, $my) = (mean(@$x), mean(@$y));
    return mean(map { ($x->[$_] - $mx) * ($y->[$_] - $my) } 0 .. $#$x);
}

sub column {
    my ($rows, $j) = @_;
    return [ map { $_->[$j] // 0 } @$rows ];
}

# Sum over the columns of sum over the rows of (v - mean)^2.
sub spread {
    my ($rows) = @_;
    my $sum = 0;
    for my $j (0 .. $#{ $rows->[0] }) {
        my $v = column($rows, $j);
        $sum += @$v * moment($v, 2, mean(@$v));
    }
    return $sum;
}

sub skewness {
    my ($v) = @_;
    my $mean = mean(@$v);
    return moment($v, 3, $mean) / moment($v, 2, $mean)**1.5;
}

# What sae-stat says of rows with their codes, by the names in its table.
sub row_stats {
    my ($s, $rows, $codes) = @_;
    my ($n, $d, $m) = (scalar @$rows, @$s{qw(d m)});
    my $hat = sae_decode($s, $codes);
    my @r = map { plus($hat->[$_], $rows->[$_], -1) } 0 .. $n - 1;
    my ($x2, $h2, $xh, $r2) = (0) x 4;
    my (@cos, @ratio, @pass, @z, @power);
    my @norm = map { sqrt dot($_, $_) } @{ $s->{dec} };
    for my $i (0 .. $n - 1) {
        my ($x, $h) = ($rows->[$i], $hat->[$i]);
        my ($a, $b, $c) = (dot($x, $x), dot($h, $h), dot($x, $h));
        $x2 += $a;
        $h2 += $b;
        $xh += $c;
        $r2 += dot($r[$i], $r[$i]);
        my $linear = combination($s, { map { $_ => dot($s->{enc}[$_], $x) } 0 .. $m - 1 });
        my $missed = plus($linear, $x, -1);
        push @cos, $b > 0 ? $c / sqrt($a * $b) : 0;
        push @ratio, sqrt($b / $a);
        push @pass, sqrt(dot($missed, $missed) / $a);
        my $y = plus($x, $s->{b_dec}, -1);
        push @z, map { dot($s->{dec}[$_], $y) / $norm[$_] - ($codes->[$i]{$_} // 0) * $norm[$_] } 0 .. $m - 1;
        push @power, dot([ map { $codes->[$i]{$_} * $norm[$_] } keys %{ $codes->[$i] } ],
            [ map { $codes->[$i]{$_} * $norm[$_] } keys %{ $codes->[$i] } ]);
    }
    my $spread = spread($rows);
    my $l0 = mean(map { scalar keys %$_ } @$codes);
    return { rows => $n, l0 => $l0, l1 => mean(map { my $f = $_; my $t = 0; $t += $_ for values %$f; $t } @$codes),
        mse => $r2 / ($n * $d), nmse => $r2 / $x2, fvu => $r2 / $spread, variance_explained => 1 - spread(\@r) / $spread,
        cosine => mean(@cos), norm_ratio => mean(@ratio), gamma => $h2 / $xh, linear_error => mean(@pass),
        input_skew => mean(map { skewness(column($rows, $_)) } 0 .. $d - 1),
        input_skew_pooled => skewness([ map { @$_ } @$rows ]), interference_var => moment(\@z, 2, mean(@z)),
        interference_law => mean(@power) / $d, l0_over_d => $l0 / $d };
}

# What it says of each feature's codes. With true codes and the true feature of each: slopes too.
sub feature_stats {
    my ($s, $rows, $codes, $true, $match) = @_;
    my @features;
    for my $i (0 .. $s->{m} - 1) {
        my @f = map { $_->{$i} // 0 } @$codes;
        my @on = grep { $f[$_] } 0 .. $#f;
        my $var = moment(\@f, 2, mean(@f));
        my ($best, $neuron) = (0, '');
        for my $j (0 .. $s->{d} - 1) {
            my $x = column($rows, $j);
            my $c = $var ? covariance(\@f, $x) / sqrt($var * covariance($x, $x)) : 0;
            ($best, $neuron) = ($c, $j) if abs $c > abs $best;
        }
        my %row = (density => @on / @f, mean => mean(@f), max => (sort { $b <=> $a } @f)[0],
            mean_active => @on ? mean(@f[@on]) : 0, last => @on ? $on[-1] + 1 : 0, neuron_corr => $best, neuron => $neuron,
            skew => $var ? moment(\@f, 3, 0) / $var**1.5 : 0, kurtosis => $var ? moment(\@f, 4, 0) / $var**2 : 0);
        if ($true) {
            my @a = map { $_->{ $match->[$i] } // 0 } @$true;
            my $fires = grep { $_ } @a;
            $row{slope} = $fires ? covariance(\@f, \@a) / covariance(\@a, \@a) : '';
            $row{slope_origin} = $fires ? dot(\@f, \@a) / dot(\@a, \@a) : '';
        }
        push @features, \%row;
    }
    return \@features;
}

# What it says of each feature's rows, and (second) of all of them.
sub direction_stats {
    my ($s) = @_;
    my ($d, $m, $dec, $enc) = @$s{qw(d m dec enc)};
    my @norm = map { sqrt dot($_, $_) } @$dec;
    my (@features, @gram, @pass, $frame);
    for my $i (0 .. $m - 1) {
        my ($row, $e) = ($dec->[$i], $enc->[$i]);
        my @size = map { abs } @$row;
        my ($max_at) = sort { $size[$b] <=> $size[$a] } 0 .. $d - 1;
        my @dots = map { dot($row, $_) } @$dec;
        my $rest = plus($e, $row, -dot($e, $row) / $norm[$i]**2);
        my ($length, $sum) = (sqrt dot($rest, $rest), 0);
        my @over = map { $_ == $i || !$length ? 0 : dot($rest, $dec->[$_]) / ($length * $norm[$_]) } 0 .. $m - 1;
        my ($with) = sort { abs $over[$b] <=> abs $over[$a] } 0 .. $m - 1;
        my $tied = $length < 1e-6 * sqrt dot($e, $e);
        $sum += $_ for @size;
        $frame += ($dots[$_] / ($norm[$i] * $norm[$_]))**2 for 0 .. $m - 1;
        push @features, { dec_norm => $norm[$i], enc_norm => sqrt dot($e, $e), align => dot($e, $row),
            denoise => $length / sqrt dot($e, $e), overlap => $tied ? '' : $over[$with], overlap_with => $tied ? '' : $with,
            max_d => $size[$max_at] / $norm[$i], max_at => $max_at, participation => $sum**2 / $norm[$i]**2,
            capacity => $norm[$i]**4 / dot(\@dots, \@dots), bias => $s->{b_enc}[$i] };
    }
    my ($tied, $linear) = (0, 0);
    for my $j (0 .. $d - 1) {
        for my $k (0 .. $d - 1) {
            my $one = $j == $k ? 1 : 0;
            $tied += (dot(column($dec, $j), column($dec, $k)) - $one)**2;
            $linear += (dot(column($dec, $j), column($enc, $k)) - $one)**2;
        }
    }
    my $capacity = 0;
    $capacity += $_->{capacity} for @features;
    return \@features, { capacity_sum => $capacity, frame_potential => $frame, tied_distance => sqrt $tied,
        linear_distance => sqrt $linear };
}

# The largest sum of a matrix over one-to-one pairs of its few rows with columns, by trying all.
sub best_pairing {
    my ($c, $row, %used) = @_;
    return 0 if $row == @$c;
    my $best;
    for my $j (grep { !$used{$_} } 0 .. $#{ $c->[$row] }) {
        my $sum = $c->[$row][$j] + best_pairing($c, $row + 1, %used, $j => 1);
        $best = $sum if !defined $best || $sum > $best;
    }
    return $best;
}

1;
