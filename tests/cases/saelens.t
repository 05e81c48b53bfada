#!/usr/bin/perl
# saelens: directories as SAELens writes them, of version 6 and of the versions before, taken wherever a tool takes a
# dictionary: codes and reconstructions against the formulas of its four architectures, worked out in double precision here;
# and what our files cannot say is refused by name. Dictionaries that have no encoder.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use JSON::PP ();
use RefFiles;
use RefTest;
use Test::More;

use constant { D => 12, M => 40, N => 60, K => 5, TOL => 2e-5 };

my $json = JSON::PP->new->canonical->utf8;
my ($true, $false) = (JSON::PP::true(), JSON::PP::false());
my %storage = (F32 => 'f32', F16 => 'f16', BF16 => 'bf16');

sub flat { return map { @$_ } @{ $_[0] } }

# A dictionary with every tensor an architecture may have, as they are after being stored in a type.
sub weights {
    my ($type) = @_;
    my %w = (W_enc => random_rows(D, M, 0.5), W_dec => random_rows(M, D, 0.4), b_enc => random_rows(1, M, 0.3)->[0],
        b_dec => random_rows(1, D, 0.5)->[0], b_gate => random_rows(1, M, 0.5)->[0], b_mag => random_rows(1, M, 0.5)->[0],
        r_mag => random_rows(1, M, 0.3)->[0], threshold => random_rows(1, M, 0.5)->[0],
        scaling_factor => [ map { 1 + $_ / 2 } @{ random_rows(1, M, 0.3)->[0] } ]);
    for (values %w) {
        $_ = ref $_->[0] ? [ map { round_to($storage{$type}, $_) } @$_ ] : round_to($storage{$type}, $_);
    }
    return \%w;
}

my %tensors = (standard => [qw(W_enc W_dec b_enc b_dec)], topk => [qw(W_enc W_dec b_enc b_dec)],
    jumprelu => [qw(W_enc W_dec b_enc b_dec threshold)], gated => [qw(W_enc W_dec b_dec b_gate b_mag r_mag)]);

sub write_dir {
    my ($dir, $cfg, $type, $w, @names) = @_;
    mkdir $dir;
    file_write("$dir/cfg.json", ref $cfg ? $json->encode($cfg) : $cfg);
    my @list = map {
        my $t = $w->{$_};
        ref $t->[0] ? [ $_, $type, [ scalar @$t, scalar @{ $t->[0] } ], [ flat($t) ] ] : [ $_, $type, [ scalar @$t ], $t ];
    } sort @names;
    st_write("$dir/sae_weights.safetensors", \@list);
}

# ---- the formulas ----

sub norm_of {
    my $sum = 0;
    $sum += $_ * $_ for @{ $_[0] };
    return sqrt $sum;
}

# SAELens's codes of one row. %o: apply, by_norm (rescale_acts_by_decoder_norm).
sub encode_row {
    my ($architecture, $w, $x, %o) = @_;
    my @in = map { $x->[$_] - ($o{apply} ? $w->{b_dec}[$_] : 0) } 0 .. D - 1;
    my @dot = (0) x M;
    for my $j (0 .. D - 1) {
        $dot[$_] += $in[$j] * $w->{W_enc}[$j][$_] for 0 .. M - 1;
    }
    my @f;
    if ($architecture eq 'gated') {
        for (0 .. M - 1) {
            my $mag = $dot[$_] * exp($w->{r_mag}[$_]) + $w->{b_mag}[$_];
            push @f, $dot[$_] + $w->{b_gate}[$_] > 0 && $mag > 0 ? $mag : 0;
        }
        return \@f;
    }
    my @pi = map { $dot[$_] + $w->{b_enc}[$_] } 0 .. M - 1;
    @pi = map { $pi[$_] * norm_of($w->{W_dec}[$_]) } 0 .. M - 1 if $o{by_norm};
    my @relu = map { $_ > 0 ? $_ : 0 } @pi;
    return [ map { $pi[$_] > $w->{threshold}[$_] ? $relu[$_] : 0 } 0 .. M - 1 ] if $architecture eq 'jumprelu';
    return \@relu if $architecture eq 'standard';
    my @order = sort { $pi[$b] <=> $pi[$a] } 0 .. M - 1;
    my %kept = map { $_ => 1 } @order[ 0 .. K - 1 ];
    return [ map { $kept{$_} ? $relu[$_] : 0 } 0 .. M - 1 ];
}

# And its reconstruction. %o: by_norm, scaled (by scaling_factor).
sub decode_row {
    my ($w, $f, %o) = @_;
    my @x = @{ $w->{b_dec} };
    for my $i (grep { $f->[$_] } 0 .. M - 1) {
        my $size = $f->[$i] * ($o{scaled} ? $w->{scaling_factor}[$i] : 1) / ($o{by_norm} ? norm_of($w->{W_dec}[$i]) : 1);
        $x[$_] += $size * $w->{W_dec}[$i][$_] for 0 .. D - 1;
    }
    return \@x;
}

# ---- configurations ----

sub cfg6 {
    my ($architecture, $apply, %more) = @_;
    return { architecture => $architecture, d_in => D, d_sae => M, dtype => 'float32', device => 'cpu',
        apply_b_dec_to_input => $apply ? $true : $false, normalize_activations => 'none', reshape_activations => 'none',
        metadata => { sae_lens_version => '6.18.0', model_name => 'gpt2-small', hook_name => 'blocks.3.hook_resid_pre',
            hook_head_index => undef, prepend_bos => $true },
        $architecture eq 'topk' ? (k => K, rescale_acts_by_decoder_norm => $false) : (), %more };
}

sub cfg5 {
    my ($architecture, $apply, %more) = @_;
    return { d_in => D, d_sae => M, dtype => 'torch.float32', device => 'cpu', model_name => 'pythia-70m',
        hook_name => 'blocks.2.hook_mlp_out', hook_layer => 2, hook_head_index => undef, architecture => $architecture,
        activation_fn_str => $architecture eq 'topk' ? 'topk' : 'relu',
        activation_fn_kwargs => { $architecture eq 'topk' ? (k => K) : () },
        apply_b_dec_to_input => $apply ? $true : $false, finetuning_scaling_factor => $false,
        sae_lens_training_version => '5.3.0', normalize_activations => 'none', %more };
}

sub rows_read { return eval { stream_read($_[0])->[0] } // { x => [], codes => [], header => {} } }

# Tools on directory "a" against the formulas.
sub check {
    my ($name, $architecture, $w, $rows, %o) = @_;
    my @want = map { encode_row($architecture, $w, $_, %o) } @$rows;
    runs(qw(sae-encode -o codes.saes a acts.saes));
    my $codes = rows_read('codes.saes');
    near_rows(dense_rows($codes->{codes}, M), \@want, TOL, "$name: codes");
    runs(qw(sae-encode -d -o hat.saes a codes.saes));
    near_rows(rows_read('hat.saes')->{x}, [ map { decode_row($w, $_, %o) } @want ], TOL, "$name: reconstruction");
    my $active = 0;
    $active += grep { $_ } @$_ for @want;
    cmp_ok($active, '>', 3 * N, "$name: the test has codes");
    return $codes;
}

srand 11;
my $rows = random_rows(N, D, 1);
stream_write('acts.saes', 'acts', D, $rows);
my $digest = '';
for my $architecture (qw(standard topk jumprelu gated)) {
    for my $type (qw(F32 F16 BF16)) {
        for my $apply (0, 1) {
            my $w = weights($type);
            write_dir('a', cfg6($architecture, $apply), $type, $w, @{ $tensors{$architecture} });
            my $name = "$architecture, version 6, $type, apply_b_dec_to_input $apply";
            my $codes = check($name, $architecture, $w, $rows, apply => $apply);
            isnt($codes->{header}{sae}{sha}, $digest, 'the codes name the dictionary by its content');
            $digest = $codes->{header}{sae}{sha};
            next if $type ne 'F32';
            write_dir('a', cfg5($architecture, $apply), $type, $w, @{ $tensors{$architecture} });
            $codes = check("$architecture, version 5, apply_b_dec_to_input $apply", $architecture, $w, $rows, apply => $apply);
            is($codes->{header}{sae}{sha}, $digest, 'which is the same in both versions');
        }
    }
}

# ---- what is folded ----

my $w = weights('F32');
write_dir('a', cfg6('topk', 1, rescale_acts_by_decoder_norm => $true), 'F32', $w, @{ $tensors{topk} });
check('topk that ranks by decoder norms', 'topk', $w, $rows, apply => 1, by_norm => 1);
for (@{ $w->{W_dec} }) {
    my $norm = norm_of($_);
    $_ = round_to('f32', [ map { $_ / $norm } @$_ ]);
}
write_dir('a', cfg6('topk', 1, rescale_acts_by_decoder_norm => $true), 'F32', $w, @{ $tensors{topk} });
check('and one that was folded when it was saved', 'topk', $w, $rows, apply => 1);
for my $said ({ finetuning_scaling_factor => $true }, {}) {
    my $cfg = { %{ cfg5('standard', 1) }, %$said };
    delete $cfg->{finetuning_scaling_factor} if !%$said;
    write_dir('a', $cfg, 'F32', $w, @{ $tensors{standard} }, 'scaling_factor');
    check('scaling_factor', 'standard', $w, $rows, apply => 1, scaled => 1);
}
write_dir('a', cfg5('standard', 1), 'F32', $w, @{ $tensors{standard} }, 'scaling_factor');
misuse(3, qr/scaling_factor is not 1/, qw(sae-encode a acts.saes));
write_dir('a', cfg5('standard', 1), 'F32', { %$w, scaling_factor => [ (1) x M ] }, @{ $tensors{standard} }, 'scaling_factor');
check('scaling_factor of ones', 'standard', $w, $rows, apply => 1);

# ---- defaults of old versions ----

write_dir('a', { d_in => D, d_sae => M, hook_point => 'blocks.0.hook_resid_pre', normalize_activations => $false }, 'F32', $w,
    @{ $tensors{standard} });
check('a cfg.json of the first versions', 'standard', $w, $rows, apply => 1);
write_dir('a', { d_in => D, d_sae => M, activation_fn_str => 'topk', activation_fn_kwargs => { k => K } }, 'F32', $w,
    @{ $tensors{standard} });
check('standard with the top-k function', 'topk', $w, $rows, apply => 1);

# ---- every tool takes one, and its words about where it is from are kept ----

write_dir('a', cfg6('jumprelu', 0), 'F32', $w, @{ $tensors{jumprelu} });
runs(qw(sae-patch -o same.saes a acts.saes));
is_deeply(rows_read('same.saes')->{x}, $rows, 'sae-patch');
like(runs(qw(sae-cossim a)), qr/\Afeature\tcos_1\tnearest_1\n0\t/, 'sae-cossim');
like(runs(qw(sae-stat a acts.saes)), qr/^rows\t60$/m, 'sae-stat');
stream_write('other.saes', 'acts', D, $rows, header => { hook => 'blocks.7.hook_mlp_out' });
my ($code, undef, $err) = tool(qw(sae-encode -o codes.saes a other.saes));
ok($code == 0 && $err =~ /blocks\.7\.hook_mlp_out.*blocks\.3\.hook_resid_pre/, 'the hook point is known') or diag($err);

# ---- refusals ----

for my $form (sub { cfg6(@_) }, sub { cfg5(@_) }) {
    for (qw(expected_average_only_in layer_norm constant_norm_rescale)) {
        write_dir('a', $form->('standard', 1, normalize_activations => $_), 'F32', $w, @{ $tensors{standard} });
        misuse(3, qr/: a: normalize_activations is $_/, qw(sae-encode a acts.saes));
    }
}
my @refused = (
    [ cfg5('standard', 1, normalize_activations => $true), 'standard', qr/normalize_activations/ ],
    [ cfg6('transcoder', 1), 'standard', qr/architecture is transcoder/ ],
    [ cfg6('batchtopk', 1), 'standard', qr/architecture is batchtopk/ ],
    [ cfg5('standard', 1, activation_fn_str => 'tanh-relu'), 'standard', qr/tanh-relu/ ],
    [ cfg6('standard', 1, d_in => D + 1), 'standard', qr/d_in 13/ ],
    [ cfg6('topk', 1, k => M + 1), 'topk', qr/k 41/ ],
    [ cfg6('topk', 1, k => 0), 'topk', qr/no k/ ],
    [ cfg6('jumprelu', 1), 'standard', qr/no tensor threshold/ ],
    [ cfg6('standard', 1), 'jumprelu', qr/threshold/ ],
    [ cfg6('gated', 1), 'standard', qr/b_enc|b_gate/ ],
    [ cfg6('topk', 1, k => 'five'), 'topk', qr/k is not a whole number/ ],
    [ cfg6('standard', 'yes', apply_b_dec_to_input => 'yes'), 'standard', qr/apply_b_dec_to_input/ ],
    [ '{ "d_in": ', 'standard', qr/not JSON/ ],
    [ '[]', 'standard', qr/cfg\.json/ ],
);
for (@refused) {
    my ($cfg, $tensors, $regex) = @$_;
    write_dir('a', $cfg, 'F32', $w, @{ $tensors{$tensors} });
    misuse(3, $regex, qw(sae-encode a acts.saes));
}
write_dir('a', cfg6('standard', 1), 'F32', $w, @{ $tensors{standard} });
my $st = st_read('a/sae_weights.safetensors');
my @list = map { [ $_, 'F32', $st->{tensor}{$_}{shape}, st_flat($st, $_) ] } @{ $tensors{standard} };
for ([ 'BOOL', [M], [ (1) x M ] ], [ 'I32', [M], [ (1) x M ] ], [ 'F32', [ M - 1 ], [ (2) x (M - 1) ] ],
    [ 'F32', [ M, 1 ], [ (2) x M ] ]) {
    st_write('a/sae_weights.safetensors', [ @list, [ 'scaling_factor', @$_ ] ]);
    misuse(3, qr/: a: scaling_factor is not \[40\]/, qw(sae-encode a acts.saes));
}
st_write('a/sae_weights.safetensors', [ @list, [ 'scaling_factor', 'F32', [M], [ 9**9**9, (1) x (M - 1) ] ] ]);
misuse(3, qr/: a: scaling_factor holds a value that is not finite/, qw(sae-encode a acts.saes));
mkdir 'empty';
misuse(1, qr/empty\/cfg\.json: /, qw(sae-encode empty acts.saes));
for ([ 'sae.safetensors', 'EleutherAI\'s sparsify' ], [ 'ae.pt', 'dictionary_learning' ], [ 'params.npz', 'Gemma Scope' ]) {
    mkdir 'other';
    file_write("other/$_->[0]", 'x');
    misuse(3, qr/: other: a directory of $_->[1], which this release does not read/, qw(sae-encode other acts.saes));
    unlink "other/$_->[0]";
}
file_write('empty/cfg.json', $json->encode(cfg6('standard', 1)));
misuse(1, qr/empty\/sae_weights\.safetensors: /, qw(sae-encode empty acts.saes));
file_write('empty/sae_weights.safetensors', 'short');
misuse(3, qr/empty\/sae_weights\.safetensors: /, qw(sae-encode empty acts.saes));

# ---- no encoder ----

st_write('truth.sae', [ [ 'W_dec', 'F32', [ M, D ], [ flat($w->{W_dec}) ] ], [ 'b_dec', 'F32', [D], $w->{b_dec} ] ],
    { format => 'saetools 1', kind => 'fista', d_model => '' . D, d_sae => '' . M, l1 => '0.5' });
misuse(3, qr/truth\.sae: .*without an encoder/, qw(sae-cossim --encoder truth.sae));
like(runs(qw(sae-cossim truth.sae)), qr/\Afeature/, 'sae-cossim of a dictionary without an encoder');
like(runs(qw(sae-stat truth.sae)), qr/^capacity_sum\t/m, 'sae-stat too');
my @sparse = map { +{ ($_ % M) => 1.5, (($_ + 7) % M) => 0.5 } } 0 .. N - 1;
stream_write('true.saes', 'codes', M, \@sparse);
runs(qw(sae-encode -d -o hat.saes truth.sae true.saes));
my @full = map { my $row = $_; [ map { $row->{$_} // 0 } 0 .. M - 1 ] } @sparse;
near_rows(rows_read('hat.saes')->{x}, [ map { decode_row($w, $_) } @full ], TOL, 'it decodes');
like(runs(qw(sae-stat --coded true.saes truth.sae hat.saes)), qr/^l0\t2$/m, 'and is measured by codes from elsewhere');
runs(qw(sae-encode -o found.saes truth.sae acts.saes));
is(runs(qw(sae-stat truth.sae acts.saes)), runs(qw(sae-stat --coded found.saes truth.sae acts.saes)),
    'sae-stat finds the codes that sae-encode finds');
runs(qw(sae-patch -o same.saes truth.sae acts.saes));
is_deeply(rows_read('same.saes')->{x}, $rows, 'sae-patch takes it');
done_testing();
