package ModelRef;
# ModelRef: a GPT-2 or GPT-NeoX checkpoint directory run forward in double precision, written from the formulas and
# independent of lib/. It is the yardstick of act-dump, for small models and few tokens.
#
#   my $m = model_load($dir);
#   my $run = model_forward($m, [ids of one context]);      # { hook => rows, logits => rows, nll => [n - 1 numbers] }
#   my $run = model_forward($m, $ids, { hook => rows });    # the rest of the pass goes on from these rows
#
# Hook points have TransformerLens's names; heads lie side by side in a row. Inside, every weight matrix is a list of
# rows, one for each output, whichever way round the file has it.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use Exporter 'import';
use JSON::PP ();
use POSIX ();
use RefFiles;

our @EXPORT = qw(model_load model_forward);

my %ACTIVATION = (
    gelu => sub { 0.5 * $_[0] * (1 + POSIX::erf($_[0] / sqrt 2)) },
    gelu_new => \&gelu_tanh,
    gelu_fast => \&gelu_tanh,
    gelu_pytorch_tanh => \&gelu_tanh,
    quick_gelu => sub { $_[0] / (1 + exp(-1.702 * $_[0])) },
    silu => sub { $_[0] / (1 + exp(-$_[0])) },
    relu => sub { $_[0] > 0 ? $_[0] : 0 },
);

sub gelu_tanh {
    my ($x) = @_;
    return 0.5 * $x * (1 + POSIX::tanh(sqrt(2 / 3.14159265358979323846) * ($x + 0.044715 * $x**3)));
}

# ---- loading ----

sub model_load {
    my ($dir) = @_;
    my $c = JSON::PP->new->utf8->decode(file_read("$dir/config.json"));
    my $w = weights_read($dir);
    return $c->{model_type} eq 'gpt2' ? load_gpt2($c, $w) : $c->{model_type} eq 'gpt_neox' ? load_neox($c, $w)
        : die "$dir: model_type $c->{model_type}\n";
}

# All tensors of a directory by name without the family's prefix: name => [safetensors file, name there].
sub weights_read {
    my ($dir) = @_;
    my @files = 'model.safetensors';
    my ($map, %w);
    if (!-e "$dir/model.safetensors") {
        $map = JSON::PP->new->utf8->decode(file_read("$dir/model.safetensors.index.json"))->{weight_map};
        my %files = map { $_ => 1 } values %$map;
        @files = sort keys %files;
    }
    for my $file (@files) {
        my $st = st_read("$dir/$file");
        for my $name (@{ $st->{names} }) {
            die "$dir: $name is in $file, not in $map->{$name}\n" if $map && $map->{$name} ne $file;
            $w{ $name =~ s/^(transformer|gpt_neox)\.//r } = [ $st, $name ];
        }
    }
    return \%w;
}

sub flat {
    my ($w, $name) = @_;
    return $w->{$name} ? st_flat(@{ $w->{$name} }) : die "no tensor '$name'\n";
}

sub matrix {
    my ($w, $name) = @_;
    return $w->{$name} ? st_rows(@{ $w->{$name} }) : die "no tensor '$name'\n";
}

sub transposed {
    my ($rows) = @_;
    return [ map { my $j = $_; [ map { $_->[$j] } @$rows ] } 0 .. $#{ $rows->[0] } ];
}

sub norm_load {
    my ($w, $name) = @_;
    return { gain => flat($w, "$name.weight"), bias => flat($w, "$name.bias") };
}

# A linear map whose matrix the file has as [in, out].
sub conv1d {
    my ($w, $name) = @_;
    return { rows => transposed(matrix($w, "$name.weight")), bias => flat($w, "$name.bias") };
}

# A linear map whose matrix the file has as [out, in].
sub linear_load {
    my ($w, $name, $biased) = @_;
    my $rows = matrix($w, "$name.weight");
    return { rows => $rows, bias => $biased ? flat($w, "$name.bias") : [ (0) x @$rows ] };
}

# Some rows of a linear map as a map of its own.
sub some_rows {
    my ($map, @rows) = @_;
    return { rows => [ @{ $map->{rows} }[@rows] ], bias => [ @{ $map->{bias} }[@rows] ] };
}

sub load_gpt2 {
    my ($c, $w) = @_;
    my ($d, $heads) = ($c->{n_embd}, $c->{n_head});
    my @layers;
    for my $i (0 .. $c->{n_layer} - 1) {
        my $qkv = conv1d($w, "h.$i.attn.c_attn");
        my $scale = $c->{scale_attn_weights} // 1 ? 1 / sqrt($d / $heads) : 1;
        $scale /= $i + 1 if $c->{scale_attn_by_inverse_layer_idx};
        push @layers, { ln1 => norm_load($w, "h.$i.ln_1"), ln2 => norm_load($w, "h.$i.ln_2"), scale => $scale,
            q => some_rows($qkv, 0 .. $d - 1), k => some_rows($qkv, $d .. 2 * $d - 1),
            v => some_rows($qkv, 2 * $d .. 3 * $d - 1),
            o => conv1d($w, "h.$i.attn.c_proj"), up => conv1d($w, "h.$i.mlp.c_fc"),
            down => conv1d($w, "h.$i.mlp.c_proj") };
    }
    my $wte = matrix($w, 'wte.weight');
    my $head = $c->{tie_word_embeddings} // 1 ? $wte : matrix($w, 'lm_head.weight');
    return { embed => $wte, positions => matrix($w, 'wpe.weight'), layers => \@layers, final => norm_load($w, 'ln_f'),
        head => { rows => $head, bias => [ (0) x @$head ] }, heads => $heads, d_head => $d / $heads, parallel => 0,
        eps => $c->{layer_norm_epsilon}, act => $ACTIVATION{ $c->{activation_function} } // die("no such activation\n") };
}

sub load_neox {
    my ($c, $w) = @_;
    my ($d, $heads) = ($c->{hidden_size}, $c->{num_attention_heads});
    my $size = $d / $heads;
    my $biased = $c->{attention_bias} // 1;
    my $rope = $c->{rope_parameters} // {};
    my $part = $rope->{partial_rotary_factor} // $c->{rotary_pct} // 0.25;
    my @layers;
    for my $i (0 .. $c->{num_hidden_layers} - 1) {
        my $at = "layers.$i";
        my $qkv = linear_load($w, "$at.attention.query_key_value", $biased);
        my @part;
        for my $which (0 .. 2) {                        # the rows are ordered (head, q|k|v, dimension)
            my @rows = map { my $h = $_; map { ($h * 3 + $which) * $size + $_ } 0 .. $size - 1 } 0 .. $heads - 1;
            push @part, some_rows($qkv, @rows);
        }
        push @layers, { ln1 => norm_load($w, "$at.input_layernorm"),
            ln2 => norm_load($w, "$at.post_attention_layernorm"),
            q => $part[0], k => $part[1], v => $part[2], scale => 1 / sqrt $size,
            o => linear_load($w, "$at.attention.dense", $biased),
            up => linear_load($w, "$at.mlp.dense_h_to_4h", 1), down => linear_load($w, "$at.mlp.dense_4h_to_h", 1) };
    }
    my $embed = matrix($w, 'embed_in.weight');
    my $head = $c->{tie_word_embeddings} ? $embed : matrix($w, 'embed_out.weight');
    return { embed => $embed, layers => \@layers, final => norm_load($w, 'final_layer_norm'),
        head => { rows => $head, bias => [ (0) x @$head ] }, heads => $heads, d_head => $size,
        parallel => $c->{use_parallel_residual} // 1, eps => $c->{layer_norm_eps},
        rotary => { dims => int($size * $part), base => $rope->{rope_theta} // $c->{rotary_emb_base} // 10000 },
        act => $ACTIVATION{ $c->{hidden_act} } // die("no such activation\n") };
}

# ---- arithmetic on lists of rows ----

# Y = X Wᵀ + b. Four rows of X at a time, so that a weight is fetched once for four products.
sub linear {
    my ($map, $x) = @_;
    my ($w, $bias) = @$map{qw(rows bias)};
    my $last = $#{ $x->[0] };
    my @y;
    for (my $i = 0; $i < @$x; $i += 4) {
        my ($p, $q, $r, $s) = map { $x->[$_] // $x->[$i] } $i .. $i + 3;
        my (@a, @b, @c, @d);
        for my $j (0 .. $#$w) {
            my ($k, $e, $f, $g, $h) = (0, ($bias->[$j]) x 4);
            for my $weight (@{ $w->[$j] }) {
                $e += $weight * $p->[$k];
                $f += $weight * $q->[$k];
                $g += $weight * $r->[$k];
                $h += $weight * $s->[ $k++ ];
            }
            push @a, $e;
            push @b, $f;
            push @c, $g;
            push @d, $h;
        }
        push @y, \@a, \@b, \@c, \@d;
    }
    return [ @y[ 0 .. $#$x ] ];
}

sub added {
    my ($first, @others) = @_;
    my @sum = map { [@$_] } @$first;
    for my $x (@others) {
        for my $i (0 .. $#sum) {
            $sum[$i][$_] += $x->[$i][$_] for 0 .. $#{ $x->[$i] };
        }
    }
    return \@sum;
}

# (x - mean) / sqrt(variance + eps), row by row, before gain and bias.
sub normalised {
    my ($x, $eps) = @_;
    my @y;
    for my $row (@$x) {
        my ($mean, $var) = (0, 0);
        $mean += $_ / @$row for @$row;
        $var += ($_ - $mean)**2 / @$row for @$row;
        my $std = sqrt($var + $eps);
        push @y, [ map { ($_ - $mean) / $std } @$row ];
    }
    return \@y;
}

sub gained {
    my ($norm, $x) = @_;
    my ($gain, $bias) = @$norm{qw(gain bias)};
    return [ map { my $row = $_; [ map { $row->[$_] * $gain->[$_] + $bias->[$_] } 0 .. $#$row ] } @$x ];
}

# Rotary positions on the first dims of each head: dimension i turns with i + dims/2 by pos base^(-2i/dims).
sub rotated {
    my ($m, $x) = @_;
    my ($dims, $base) = @{ $m->{rotary} }{qw(dims base)};
    my @y = map { [@$_] } @$x;
    for my $pos (0 .. $#y) {
        for my $i (0 .. $dims / 2 - 1) {
            my $angle = $pos * $base**(-2 * $i / $dims);
            my ($cos, $sin) = (cos $angle, sin $angle);
            for my $head (0 .. $m->{heads} - 1) {
                my $at = $head * $m->{d_head} + $i;
                my ($a, $b) = @{ $x->[$pos] }[ $at, $at + $dims / 2 ];
                @{ $y[$pos] }[ $at, $at + $dims / 2 ] = ($a * $cos - $b * $sin, $b * $cos + $a * $sin);
            }
        }
    }
    return \@y;
}

# Causal attention: for each head, z_i = sum over j <= i of softmax_j(scale q_i.k_j) v_j.
sub attended {
    my ($m, $scale, $q, $k, $v) = @_;
    my $size = $m->{d_head};
    my @z;
    for my $i (0 .. $#$q) {
        for my $head (0 .. $m->{heads} - 1) {
            my @dims = ($head * $size .. ($head + 1) * $size - 1);
            my @score;
            for my $j (0 .. $i) {
                my $s = 0;
                $s += $q->[$i][$_] * $k->[$j][$_] for @dims;
                push @score, $s * $scale;
            }
            my $top = (sort { $b <=> $a } @score)[0];
            my @weight = map { exp($_ - $top) } @score;
            my $total = 0;
            $total += $_ for @weight;
            for my $dim (@dims) {
                my $sum = 0;
                $sum += $weight[$_] * $v->[$_][$dim] for 0 .. $i;
                $z[$i][$dim] = $sum / $total;
            }
        }
    }
    return \@z;
}

# ---- the model ----

# The rows given for a hook, where there are any, instead of those computed.
sub spliced {
    my ($splice, $name, $rows) = @_;
    return $splice->{$name} // $rows;
}

sub model_forward {
    my ($m, $ids, $splice) = @_;
    $splice //= {};
    my %hook = (hook_embed => [ map { [ @{ $m->{embed}[$_] // die "token $_ is beyond the vocabulary\n" } ] } @$ids ]);
    my $x = $hook{hook_embed} = spliced($splice, 'hook_embed', $hook{hook_embed});
    if ($m->{positions}) {
        $hook{hook_pos_embed} = spliced($splice, 'hook_pos_embed', [ map { [ @{ $m->{positions}[$_] } ] } 0 .. $#$ids ]);
        $x = added($x, $hook{hook_pos_embed});
    }
    for my $i (0 .. $#{ $m->{layers} }) {
        my %here = map { /^blocks\.$i\.(.*)/ ? ($1 => $splice->{$_}) : () } keys %$splice;
        my $point = block($m, $m->{layers}[$i], $x, \%here);
        $hook{"blocks.$i.$_"} = $point->{$_} for keys %$point;
        $x = $point->{hook_resid_post};
    }
    $hook{'ln_final.hook_normalized'} = spliced($splice, 'ln_final.hook_normalized', normalised($x, $m->{eps}));
    $hook{logits} = spliced($splice, 'logits', linear($m->{head}, gained($m->{final}, $hook{'ln_final.hook_normalized'})));
    $hook{nll} = [ map { nll($hook{logits}[$_], $ids->[ $_ + 1 ]) } 0 .. $#$ids - 1 ];
    return \%hook;
}

sub block {
    my ($m, $layer, $x, $splice) = @_;
    my %p;
    my $point = sub { $p{ $_[0] } = spliced($splice, @_) };
    $x = $point->('hook_resid_pre', $x);
    my $in = gained($layer->{ln1}, $point->('ln1.hook_normalized', normalised($x, $m->{eps})));
    my ($q, $k, $v) = map { $point->("attn.hook_$_", linear($layer->{$_}, $in)) } qw(q k v);
    ($q, $k) = ($point->('attn.hook_rot_q', rotated($m, $q)), $point->('attn.hook_rot_k', rotated($m, $k))) if $m->{rotary};
    my $z = $point->('attn.hook_z', attended($m, $layer->{scale}, $q, $k, $v));
    my $attn = $point->('hook_attn_out', linear($layer->{o}, $z));
    my $mid = $m->{parallel} ? $x : $point->('hook_resid_mid', added($x, $attn));
    $in = gained($layer->{ln2}, $point->('ln2.hook_normalized', normalised($mid, $m->{eps})));
    my $pre = $point->('mlp.hook_pre', linear($layer->{up}, $in));
    my $act = $m->{act};
    my $post = $point->('mlp.hook_post', [ map { [ map { $act->($_) } @$_ ] } @$pre ]);
    my $mlp = $point->('hook_mlp_out', linear($layer->{down}, $post));
    $point->('hook_resid_post', $m->{parallel} ? added($x, $attn, $mlp) : added($mid, $mlp));
    return \%p;
}

# -log softmax(logits)[id], in nats.
sub nll {
    my ($logits, $id) = @_;
    my $top = $logits->[0];
    for (@$logits) {
        $top = $_ if $_ > $top;
    }
    my $sum = 0;
    $sum += exp($_ - $top) for @$logits;
    return $top + log($sum) - $logits->[$id];
}

1;
