/* sae-fit: fit dictionaries to a stream of activations.
 *
 *   acts --> shuffle buffer --> batches --> fit_step() of each fit ... at the end --> its SAE file
 *                 |                 `--> every --log-every steps: a line of numbers, of --eval rows too
 *                 `--> every --resample-every steps: rows for dead features      every --every rows: a checkpoint */
/* SPDX-License-Identifier: MIT */
#include "data/shuffle.h"
#include "files/fitstate.h"
#include "files/rowsfile.h"
#include "ground/mem.h"
#include "kinds/adopt.h"
#include "kinds/recipe.h"
#include "kinds/resample.h"
#include "maths/cosine.h"
#include "maths/vec.h"
#include "tools/fitinfo.h"
#include "tools/fitlog.h"
#include "tools/saetool.h"

#include <inttypes.h>
#include <libdeflate.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NORMALIZE_NONE, NORMALIZE_RMS };
enum { RESAMPLE_NONE, RESAMPLE_ANTHROPIC };
static const char *const normalize_names[] = { "none", "rms", NULL };
static const char *const center_names[] = { "zero", "mean", "median", "none", NULL };
static const char *const resample_names[] = { "none", "anthropic", NULL };
static const char *const shape_names[] = { "linear", "cosine", NULL };
static const char *const ortho_names[] = { "frame", "chunks", "max", NULL };
static const char *const inner_names[] = { "relu", "gelu", "softplus", NULL };
static const char *const yes_names[] = { "no", "yes", NULL };
static const char *const dec_names[] = { "random", "orthogonal", NULL };

/* Numbers not given are -1 or NaN until resolve(). */
static struct {
    bool info, l1_by_norm, resample_center;
    int kind, preset, units, normalize, center, resample, decay_shape, ortho_kind, inner, tied_init, dec_init;
    int64_t d_sae, batch, warmup, l1_warmup, rows, epochs, buffer, window, log_every, k, auxk, enc_layers, prefixes,
        iterations, resample_every, resample_times, resample_rows, every;
    double ratio, lr, decay, theta0, bandwidth, target_l0, aux_weight, p_end, p_from, p_to, ortho, recon, clip, dec_norm;
    struct opt_reals l1;
    const char *eval, *log, *init, *checkpoint, *resume;
} o = { .kind = -1, .preset = -1, .units = -1, .normalize = -1, .center = -1, .resample = -1, .decay_shape = -1,
        .ortho_kind = -1, .inner = -1, .tied_init = -1, .dec_init = -1, .d_sae = -1, .batch = -1, .warmup = -1,
        .l1_warmup = -1, .rows = -1, .epochs = 1, .buffer = 32768, .window = 100000, .log_every = 100, .k = -1,
        .auxk = -1, .enc_layers = -1, .prefixes = -1, .iterations = -1, .resample_every = -1, .resample_times = -1,
        .resample_rows = -1, .every = 1000000, .ratio = NAN, .lr = NAN, .decay = NAN, .theta0 = NAN, .bandwidth = NAN,
        .target_l0 = NAN, .aux_weight = NAN, .p_end = NAN, .p_from = NAN, .p_to = NAN, .ortho = NAN, .recon = NAN,
        .clip = NAN, .dec_norm = NAN };

#define WIDE 9e15
#define THEIRS .shown = "the preset's or kind's", .numbers = true

static const struct opt table[] = {
    { .type = OPT_GROUP, .help = "What is fitted" },
    { OPT_CHOICE, .name = "kind", .var = &o.kind, .arg = "KIND", .help = "kind of dictionary", .choices = kind_names,
      .shown = "the preset's, else tied", .numbers = true },
    { OPT_CHOICE, .name = "preset", .var = &o.preset, .arg = "NAME", .help = "a published recipe (where its source "
      "is silent, ours), or good, a current one of our choice; options given besides win. Without it, defaults are the "
      "kind's own", .choices = preset_names, .shown = "", .numbers = true },
    { OPT_REAL, .letter = 'x', .name = "ratio", .var = &o.ratio, .arg = "RATIO", .help = "features for each "
      "dimension of the rows", .lo = 1e-6, .hi = 1e6, .shown = "the preset's or kind's" },
    { OPT_COUNT, .name = "d-sae", .var = &o.d_sae, .arg = "N", .help = "the same as a number of features", .lo = 1,
      .hi = STREAM_WIDTH, .shown = "from -x", .numbers = true },
    { OPT_STRING, .letter = 'o', .name = "output", .var = &opt.output, .arg = "FILE", .help = "the dictionary, complete "
      "or not at all; required. With {l1} in FILE, the LAMBDA of the fit stands there" },
    { OPT_CHOICE, .name = "normalize", .var = &o.normalize, .arg = "HOW", .help = "rms: fit rows times s, their "
      "mean square norm then being d_model; LAMBDA and what is logged are in those units, the dictionary is not",
      .choices = normalize_names, .shown = "none; without --l1 what the preset's or kind's LAMBDA is meant for",
      .numbers = true },
    { OPT_CHOICE, .name = "center", .var = &o.center, .arg = "HOW", .help = "where b_dec begins, for kinds that "
      "learn one: at zero, or the mean or geometric median of the first buffer of rows; none: there is no b_dec",
      .choices = center_names, THEIRS },

    { .type = OPT_GROUP, .help = "The loss" },
    { OPT_REALS, .name = "l1", .var = &o.l1, .arg = "LAMBDA[,...]", .help = "weight of the penalty S: the loss is the "
      "mean over rows of |x_hat - x|^2 + LAMBDA S. Several: as many fits, side by side, of the same rows",
      .lo = 0, .hi = 1e30, THEIRS },
    { OPT_CHOICE, .name = "l1-units", .var = &o.units, .arg = "UNITS", .help = "what --l1 is meant in. cunningham: the "
      "squares are averaged over dimensions (LAMBDA times d_model); sharkey: f is averaged over features too "
      "(LAMBDA times d_model / d_sae)", .choices = l1_unit_names, .shown = "canonical, as above", .numbers = true },
    { OPT_COUNT, .name = "l1-warmup", .var = &o.l1_warmup, .arg = "STEPS", .help = "LAMBDA rises from 0 in STEPS steps",
      .lo = 0, .hi = WIDE, THEIRS },
    { OPT_FLAG, .name = "l1-by-norm", .var = &o.l1_by_norm, .help = "S = sum f_i |d_i| with free decoder norms, which "
      "are folded into the codes at the end", .numbers = true },
    { OPT_REAL, .name = "p-end", .var = &o.p_end, .arg = "P", .help = "S = sum f^p, p falling from 1 to P; needs the "
      "number of rows when below 1", .lo = 0.01, .hi = 1, THEIRS },
    { OPT_REAL, .name = "p-from", .var = &o.p_from, .arg = "SHARE", .help = "p begins to fall after SHARE of all steps",
      .lo = 0, .hi = 1, .shown = "0", .numbers = true },
    { OPT_REAL, .name = "p-to", .var = &o.p_to, .arg = "SHARE", .help = "p has fallen after SHARE of all steps",
      .lo = 0, .hi = 1, .shown = "1", .numbers = true },
    { OPT_REAL, .name = "recon", .var = &o.recon, .arg = "WEIGHT", .help = "weight of |x_hat - x|^2", .lo = 0,
      .hi = 1e9, .shown = "1", .numbers = true },
    { OPT_REAL, .name = "ortho", .var = &o.ortho, .arg = "GAMMA", .help = "weight of a penalty on decoder rows that are "
      "alike", .lo = 0, .hi = 1e9, .shown = "0", .numbers = true },
    { OPT_CHOICE, .name = "ortho-kind", .var = &o.ortho_kind, .arg = "WHICH", .help = "frame: the sum of all squared "
      "cosines; chunks: each row's largest within a random chunk, squared, the mean of them (OrtSAE); max: mean cosine + "
      "mean of each row's largest + largest of all", .choices = ortho_names, .shown = "frame", .numbers = true },

    { .type = OPT_GROUP, .help = "What only some kinds have" },
    { OPT_COUNT, .letter = 'k', .name = "k", .var = &o.k, .arg = "K", .help = "features that fire in a row, on the mean of a "
      "batch for batchtopk and matryoshka; pca, ica, nmf, random and identity: all unless K is given", .lo = 1, .hi = STREAM_WIDTH, THEIRS },
    { OPT_REAL, .name = "theta0", .var = &o.theta0, .arg = "THETA", .help = "jumprelu: thresholds at the start", .lo = 1e-9,
      .hi = 1e6, THEIRS },
    { OPT_REAL, .name = "bandwidth", .var = &o.bandwidth, .arg = "EPSILON", .help = "jumprelu: width of the kernel that "
      "stands in for the derivative of the step", .lo = 1e-9, .hi = 1e6, THEIRS },
    { OPT_REAL, .name = "target-l0", .var = &o.target_l0, .arg = "L0", .help = "jumprelu: S = (L0 of the batch / "
      "L0 - 1)^2", .lo = 1e-3, .hi = STREAM_WIDTH, .shown = "off", .numbers = true },
    { OPT_COUNT, .name = "auxk", .var = &o.auxk, .arg = "K", .help = "K dead features explain what the others leave; "
      "dead as --dead-window says; 0: off", .lo = 0, .hi = STREAM_WIDTH, THEIRS },
    { OPT_REAL, .name = "aux-weight", .var = &o.aux_weight, .arg = "WEIGHT", .help = "weight of that in the loss", .lo = 0,
      .hi = 1e6, .shown = "1/32", .numbers = true },
    { OPT_COUNT, .name = "enc-layers", .var = &o.enc_layers, .arg = "N", .help = "layers of the encoder", .lo = 1, .hi = 8,
      .shown = "1", .numbers = true },
    { OPT_CHOICE, .name = "inner", .var = &o.inner, .arg = "WHICH", .help = "activation of layers before the last",
      .choices = inner_names, .shown = "relu", .numbers = true },
    { OPT_COUNT, .name = "prefixes", .var = &o.prefixes, .arg = "N", .help = "matryoshka: nested dictionaries", .lo = 1,
      .hi = 64, THEIRS },
    { OPT_COUNT, .name = "iterations", .var = &o.iterations, .arg = "N", .help = "fista: iterations that search for the "
      "codes of a batch", .lo = 1, .hi = 1e6, THEIRS },

    { .type = OPT_GROUP, .help = "Where it begins" },
    { OPT_STRING, .name = "init", .var = &o.init, .arg = "FILE", .help = "rows to begin from (NAME.npy, or "
      "FILE.safetensors:TENSOR, a matrix of a model for instance), or a dictionary to go on from. Features beyond those "
      "begin at random", .numbers = true },
    { OPT_CHOICE, .name = "dec-init", .var = &o.dec_init, .arg = "HOW", .help = "decoder rows begin in random directions, "
      "or orthogonal, as far as the shape lets them", .choices = dec_names, THEIRS },
    { OPT_CHOICE, .name = "tied-init", .var = &o.tied_init, .arg = "HOW", .help = "the encoder begins as the decoder's "
      "copy", .choices = yes_names, THEIRS },
    { OPT_REAL, .name = "dec-norm", .var = &o.dec_norm, .arg = "NORM", .help = "norm of decoder rows at the start, with "
      "--l1-by-norm", .lo = 1e-6, .hi = 1e6, THEIRS },

    { .type = OPT_GROUP, .help = "Rows and steps" },
    { OPT_COUNT, .letter = 'n', .name = "rows", .var = &o.rows, .arg = "ROWS", .help = "use the first ROWS rows",
      .lo = 1, .hi = WIDE, .shown = "all", .numbers = true },
    { OPT_COUNT, .name = "epochs", .var = &o.epochs, .arg = "N",
      .help = "go through them N times; above 1 needs a file",
      .lo = 1, .hi = 1e6, .numbers = true },
    { OPT_COUNT, .name = "buffer", .var = &o.buffer, .arg = "ROWS", .help = "shuffle buffer: a row is drawn from among "
      "ROWS", .lo = 1, .hi = 1e9, .numbers = true },
    { OPT_COUNT, .letter = 'b', .name = "batch", .var = &o.batch, .arg = "ROWS", .help = "rows in a step", .lo = 1,
      .hi = 1 << 20, THEIRS },
    { OPT_REAL, .name = "lr", .var = &o.lr, .arg = "RATE", .help = "learning rate of Adam", .lo = 0, .hi = 1e6, THEIRS },
    { OPT_COUNT, .name = "warmup", .var = &o.warmup, .arg = "STEPS", .help = "the rate rises from 0 in STEPS steps",
      .lo = 0, .hi = WIDE, THEIRS },
    { OPT_REAL, .name = "decay", .var = &o.decay, .arg = "SHARE", .help = "the rate falls to 0 over the last SHARE "
      "of all steps; on a pipe that does not say how many rows it has this needs -n", .lo = 0, .hi = 1, THEIRS },
    { OPT_CHOICE, .name = "decay-shape", .var = &o.decay_shape, .arg = "SHAPE", .help = "how it falls",
      .choices = shape_names, THEIRS },
    { OPT_REAL, .name = "clip", .var = &o.clip, .arg = "NORM", .help = "scale a gradient whose norm is larger down to "
      "NORM; 0: never", .lo = 0, .hi = 1e30, THEIRS },

    { .type = OPT_GROUP, .help = "Dead features" },
    { OPT_COUNT, .name = "dead-window", .var = &o.window, .arg = "ROWS", .help = "a feature is dead that has not "
      "fired in the last ROWS rows", .lo = 1, .hi = WIDE, .numbers = true },
    { OPT_CHOICE, .name = "resample", .var = &o.resample, .arg = "HOW", .help = "anthropic: features that have not fired "
      "in the half of --resample-every before an event begin anew, as rows with a large loss", .choices = resample_names,
      THEIRS },
    { OPT_COUNT, .name = "resample-every", .var = &o.resample_every, .arg = "STEPS", .help = "steps between events",
      .lo = 2, .hi = WIDE, .shown = "25000, or a tenth of all steps where that is less", .numbers = true },
    { OPT_COUNT, .name = "resample-times", .var = &o.resample_times, .arg = "N", .help = "events", .lo = 1, .hi = WIDE,
      .shown = "4", .numbers = true },
    { OPT_COUNT, .name = "resample-rows", .var = &o.resample_rows, .arg = "ROWS", .help = "an event draws from ROWS rows "
      "of the shuffle buffer", .lo = 1, .hi = 1e9, .shown = "819200, or all of the buffer where that is less",
      .numbers = true },
    { OPT_FLAG, .name = "resample-center", .var = &o.resample_center, .help = "new rows are directions of x - b_dec, not "
      "of x", .numbers = true },

    { .type = OPT_GROUP, .help = "Watching" },
    { OPT_STRING, .name = "log", .var = &o.log, .arg = "FILE", .help = "table of step, rows, loss, mse, fvu, l0, "
      "dead, lr, seconds and resampled; each line is of the steps since the line before; {l1} as with -o" },
    { OPT_COUNT, .name = "log-every", .var = &o.log_every, .arg = "STEPS", .help = "a line each STEPS steps", .lo = 1,
      .hi = WIDE },
    { OPT_STRING, .name = "eval", .var = &o.eval, .arg = "FILE", .help = "measure these held-out rows too: at every "
      "line of the log, and at the end" },
    { OPT_FLAG, .name = "info", .var = &o.info, .help = "print what the file SAE holds, and the commands that would "
      "make it again" },

    { .type = OPT_GROUP, .help = "Stopping and going on" },
    { OPT_STRING, .name = "checkpoint", .var = &o.checkpoint, .arg = "FILE", .help = "keep the state of the fit in FILE, "
      "written each --every rows and on SIGINT and SIGTERM" },
    { OPT_COUNT, .name = "every", .var = &o.every, .arg = "ROWS", .help = "rows between two checkpoints", .lo = 1,
      .hi = WIDE },
    { OPT_STRING, .name = "resume", .var = &o.resume, .arg = "FILE", .help = "go on from a checkpoint, with the same "
      "options and input; the result is that of a run without a break. If --checkpoint names the same FILE and it is not "
      "there yet, begin" },
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "sae-fit", .synopsis = "-o SAE [OPTION]... [ACTS]\n       sae-fit --info SAE",
    .about = "Fit a dictionary to a stream of activations.",
    .common = OPT_SEED | OPT_HISTORY | OPT_JSON, .max_operands = 1, .version = tool_version_arithmetic,
};

/* One fit of those that share the rows. */
struct job {
    double l1;                  /* as given, in --l1-units */
    char *word;                 /* the same, spelled as on the command line */
    char *output, *log_path;
    struct fit *fit;            /* NULL: ended early, and why: */
    char *failed;
    struct fitlog log;
};

static struct job *job;
static size_t jobs;

static volatile sig_atomic_t stop;      /* the signal that asked for the end */

/* ---- the rows ---- */

struct source {
    const char *path;           /* to open again for another epoch */
    struct stream_in *in;
    struct batch b;
    size_t at;                  /* next row of b */
    uint64_t used;              /* rows of this epoch */
    int64_t epoch;
};

static struct stream_in *open_acts(const char *path, size_t d)
{
    struct stream_in *in = stream_open(path);
    if (!in)
        tool_die();
    tool_want(in, STREAM_ACTS, d, "the fit");
    return in;
}

/* The next row's batch: 1, 0 behind the last row of the last epoch, -1. */
static int advance(struct source *s)
{
    size_t d = s->in->d;
    for (;;) {
        if (stop)
            return err_data("stopped");
        bool enough = o.rows >= 0 && s->used == (uint64_t)o.rows;
        if (!enough && s->at < s->b.n)
            return 1;
        s->at = s->b.n = 0;
        int more = enough ? 0 : stream_next(s->in, &s->b);
        if (more < 0)
            return -1;
        if (more)
            continue;
        if (s->used == 0 || ++s->epoch >= o.epochs)
            return 0;
        stream_close(s->in);
        s->in = open_acts(s->path, d);
        s->used = 0;
    }
}

static ssize_t next_rows(void *arg, float *out, size_t n)
{
    struct source *s = arg;
    size_t got = 0, d = s->in->d;
    while (got < n) {
        int more = advance(s);
        if (more < 0)
            return -1;
        if (!more)
            break;
        size_t k = s->b.n - s->at < n - got ? s->b.n - s->at : n - got;
        if (o.rows >= 0 && k > (uint64_t)o.rows - s->used)
            k = (uint64_t)o.rows - s->used;
        memcpy(out + got * d, s->b.x + s->at * d, k * d * sizeof *out);
        s->at += k;
        s->used += k;
        got += k;
    }
    return (ssize_t)got;
}

/* Rows of a file, by reading it through. */
static uint64_t count_rows(const char *path)
{
    struct stream_in *in = open_acts(path, 0);
    struct batch b;
    int more;
    while ((more = stream_next(in, &b)) > 0)
        ;
    if (more < 0)
        tool_die();
    uint64_t rows = in->total_rows;
    stream_close(in);
    return rows;
}

/* Rows there will be in all, 0 when that cannot be known. `who` needs it exactly; NULL: nobody does. */
static uint64_t total_rows(const struct source *s, const char *who)
{
    const json_t *stated = json_object_get(s->in->head, "rows");
    uint64_t rows = json_integer_value(stated) > 0 ? (uint64_t)json_integer_value(stated) : 0;
    if (who && io_seekable(s->in->io))
        rows = count_rows(s->path);             /* a header speaks of its own section only */
    else if (who && !rows && o.rows < 0)
        opt_misuse("%s needs the number of rows, which %s does not state: give -n", who, stream_name(s->in));
    if (o.rows >= 0 && (!rows || rows > (uint64_t)o.rows))
        rows = (uint64_t)o.rows;
    return rows * (uint64_t)o.epochs;
}

/* ---- the options ---- */

/* Options that stand for a field of struct fit_options, and what a kind must be able to do for each. */
enum field_type { REAL, SIZE, WHOLE, CHOICE, FLAG, CHOSEN };      /* double, size_t, uint64_t, int, bool; bool by a choice */
static const struct field {
    const char *name;
    void *var;
    enum field_type type;
    size_t at;
    unsigned uses;
} fields[] = {
#define FIELD(name, var, type, field, uses) { name, &o.var, type, offsetof(struct fit_options, field), uses }
    FIELD("--normalize", normalize, CHOSEN, rms, USES_SCALE),
    FIELD("--center", center, CHOICE, center, USES_CENTER),
    FIELD("--l1-warmup", l1_warmup, WHOLE, l1_warmup, USES_L1),
    FIELD("--l1-by-norm", l1_by_norm, FLAG, norm_weighted, USES_NORM_WEIGHT),
    FIELD("--p-end", p_end, REAL, p_end, USES_P),
    FIELD("--p-from", p_from, REAL, p_from, USES_P),
    FIELD("--p-to", p_to, REAL, p_to, USES_P),
    FIELD("--recon", recon, REAL, recon, USES_RECON),
    FIELD("--ortho", ortho, REAL, ortho, USES_ORTHO),
    FIELD("--ortho-kind", ortho_kind, CHOICE, ortho_kind, USES_ORTHO),
    FIELD("-k", k, SIZE, k, USES_K),
    FIELD("--theta0", theta0, REAL, theta0, USES_THETA),
    FIELD("--bandwidth", bandwidth, REAL, bandwidth, USES_THETA),
    FIELD("--target-l0", target_l0, REAL, target_l0, USES_THETA),
    FIELD("--auxk", auxk, SIZE, aux_k, USES_AUX),
    FIELD("--aux-weight", aux_weight, REAL, aux_weight, USES_AUX),
    FIELD("--enc-layers", enc_layers, SIZE, enc_layers, USES_LAYERS),
    FIELD("--inner", inner, CHOICE, inner, USES_LAYERS),
    FIELD("--prefixes", prefixes, SIZE, prefixes, USES_PREFIXES),
    FIELD("--iterations", iterations, SIZE, inner_iterations, USES_ITERATIONS),
    FIELD("--dec-init", dec_init, CHOSEN, orthogonal, USES_TIED_INIT),
    FIELD("--tied-init", tied_init, CHOSEN, tied_init, USES_TIED_INIT),
    FIELD("--dec-norm", dec_norm, REAL, dec_norm, USES_DEC_NORM),
    FIELD("--lr", lr, REAL, lr, USES_ADAM),
    FIELD("--warmup", warmup, WHOLE, warmup, USES_ADAM),
    FIELD("--decay", decay, REAL, decay, USES_ADAM),
    FIELD("--decay-shape", decay_shape, CHOSEN, cosine, USES_ADAM),
    FIELD("--clip", clip, REAL, clip, USES_CLIP),
#undef FIELD
};

static void refuse(const char *name)
{
    opt_misuse("%s means nothing to kind %s", name, kind_names[o.kind]);
}

/* The option's value to its field. */
static void field_take(const struct field *f, struct fit_options *to)
{
    void *at = (char *)to + f->at;
    switch (f->type) {
    case REAL: *(double *)at = *(double *)f->var; break;
    case SIZE: *(size_t *)at = (size_t)*(int64_t *)f->var; break;
    case WHOLE: *(uint64_t *)at = (uint64_t)*(int64_t *)f->var; break;
    case CHOICE: *(int *)at = *(int *)f->var; break;
    case FLAG: *(bool *)at = *(bool *)f->var; break;
    case CHOSEN: *(bool *)at = *(int *)f->var == 1; break;
    }
}

/* The field's value to the option, so that the history holds it. */
static void field_give(const struct field *f, const struct fit_options *from)
{
    const void *at = (const char *)from + f->at;
    switch (f->type) {
    case REAL: *(double *)f->var = *(const double *)at; break;
    case SIZE: *(int64_t *)f->var = (int64_t)*(const size_t *)at; break;
    case WHOLE: *(int64_t *)f->var = (int64_t)*(const uint64_t *)at; break;
    case CHOICE: *(int *)f->var = *(const int *)at; break;
    case FLAG: *(bool *)f->var = *(const bool *)at; break;
    case CHOSEN: *(int *)f->var = *(const bool *)at; break;
    }
}

static const struct recipe *recipe_in_force(void)
{
    return o.preset >= 0 ? presets[o.preset] : kinds[o.kind]->usual;
}

static void resolve_size(const struct recipe *r, size_t d)
{
    if (opt_given(&o.ratio) && opt_given(&o.d_sae))
        opt_misuse("-x and --d-sae exclude each other");
    if (!opt_given(&o.d_sae))
        o.d_sae = (int64_t)llround((opt_given(&o.ratio) ? o.ratio : r->ratio) * (double)d);
    if (o.d_sae < 1 || o.d_sae > STREAM_WIDTH)
        opt_misuse("-x: %" PRId64 " features, not 1 to %d", o.d_sae, STREAM_WIDTH);
}

/* lambda, its units and the scale of rows it is meant for. */
static void resolve_l1(const struct recipe *r, unsigned uses)
{
    static double usual;
    bool given = opt_given(&o.l1), same = !strcmp(kind_names[o.kind], r->kind);
    const struct recipe *l1 = same ? r : kinds[o.kind]->usual;      /* a preset's lambda is for its own kind */
    if (given && !(uses & USES_L1))
        refuse("--l1");
    if (opt_given(&o.units) && !given)
        opt_misuse("--l1-units needs --l1");
    if (o.units < 0 && uses & USES_L1)
        o.units = given ? L1_CANONICAL : (int)l1->units;
    if (!given && uses & USES_L1 && o.normalize >= 0 && (o.normalize == NORMALIZE_RMS) != l1->rms)
        opt_misuse("--normalize %s needs --l1: the usual one is for rows that are %s", normalize_names[o.normalize],
                   l1->rms ? "scaled" : "not scaled");
    if (o.normalize < 0 && uses & USES_SCALE)
        o.normalize = l1->rms && !(given && uses & USES_L1) ? NORMALIZE_RMS : NORMALIZE_NONE;
    if (!given && uses & USES_L1) {
        usual = l1->l1;
        o.l1 = (struct opt_reals){ .item = &usual, .n = 1 };
    }
}

/* What is legal depends on the size. */
static void check_ranges(const struct fit_options *f)
{
    if (f->k > f->d_sae)
        opt_misuse("-k %zu: there are %zu features, so 1 to %zu", f->k, f->d_sae, f->d_sae);
    if (f->aux_k > f->d_sae && opt_given(&o.auxk))
        opt_misuse("--auxk %zu: there are %zu features, so 0 to %zu", f->aux_k, f->d_sae, f->d_sae);
    if (f->prefixes > f->d_sae)
        opt_misuse("--prefixes %zu: there are %zu features, so 1 to %zu", f->prefixes, f->d_sae, f->d_sae);
    if (f->target_l0 > (double)f->d_sae)
        opt_misuse("--target-l0 %g: there are %zu features, so up to %zu", f->target_l0, f->d_sae, f->d_sae);
    if (f->p_from > f->p_to)
        opt_misuse("--p-from %g is behind --p-to %g", f->p_from, f->p_to);
    if (f->enc_layers > 1 && (o.init || o.resample == RESAMPLE_ANTHROPIC))
        opt_misuse("%s needs an encoder of one layer, not --enc-layers %zu", o.init ? "--init" : "--resample",
                   f->enc_layers);
}

/* Which option needs the number of all rows; NULL: none. */
static const char *schedule_of(const struct fit_options *f, const struct recipe *r)
{
    if (f->decay > 0)
        return "--decay";
    if (f->p_end < 1)
        return "--p-end";
    if (o.resample == RESAMPLE_ANTHROPIC && !opt_given(&o.resample_every))
        return "--resample without --resample-every";
    return r->l1_warmup_share > 0 && !opt_given(&o.l1_warmup) ? "the preset without --l1-warmup" : NULL;
}

static void resolve_resampling(struct fit_options *f, unsigned uses, const struct recipe *r)
{
    static const struct {
        const void *var;
        const char *name;
    } only[] = { { &o.resample_every, "--resample-every" }, { &o.resample_times, "--resample-times" },
                 { &o.resample_rows, "--resample-rows" }, { &o.resample_center, "--resample-center" } };
    if (o.resample == RESAMPLE_ANTHROPIC && !(uses & USES_RESAMPLE))
        refuse("--resample anthropic");
    if (o.resample < 0)
        o.resample = r->resample && uses & USES_RESAMPLE && f->enc_layers == 1 ? RESAMPLE_ANTHROPIC : RESAMPLE_NONE;
    for (size_t i = 0; i < sizeof only / sizeof *only; i++)
        if (o.resample == RESAMPLE_NONE && opt_given(only[i].var))
            opt_misuse("%s needs --resample anthropic", only[i].name);
    if (o.resample_rows > o.buffer)
        opt_misuse("--resample-rows %" PRId64 ": the shuffle buffer has 1 to %" PRId64 " (see --buffer)",
                   o.resample_rows, o.buffer);
}

/* The numbers of resampling, once the number of steps is known. */
static void plan_resampling(struct fit_options *f)
{
    if (o.resample != RESAMPLE_ANTHROPIC)
        return;
    uint64_t tenth = f->steps / 10 < 2 ? 2 : f->steps / 10;
    if (!opt_given(&o.resample_every))
        o.resample_every = (int64_t)(f->steps && tenth < 25000 ? tenth : 25000);
    if (!opt_given(&o.resample_times))
        o.resample_times = 4;
    if (!opt_given(&o.resample_rows))
        o.resample_rows = o.buffer < 819200 ? o.buffer : 819200;
    f->resample_every = (uint64_t)o.resample_every;
    if (__builtin_mul_overflow(f->resample_every, (uint64_t)o.resample_times, &f->resample_last))
        f->resample_last = UINT64_MAX;
    f->resample_rows = (uint64_t)o.resample_rows;
    f->resample_centre = o.resample_center;
}

/* Each option not given takes the recipe's value, so that the history holds them all. lambda is left to the jobs. */
static struct fit_options resolve(const struct source *src, uint64_t *total)
{
    size_t d = src->in->d;
    if (o.kind < 0 && o.preset < 0)
        o.kind = 0;
    for (int i = 0; o.kind < 0; i++)
        if (!strcmp(kind_names[i], presets[o.preset]->kind))
            o.kind = i;
    const struct recipe *r = recipe_in_force();
    const struct kind *kind = kinds[o.kind];
    struct fit_options f = recipe_options(r, kind);
    resolve_size(r, d);
    resolve_l1(r, kind->uses);
    f.d_model = d;
    f.d_sae = (size_t)o.d_sae;
    f.aux_k = f.aux_k < f.d_sae ? f.aux_k : f.d_sae;
    f.prefixes = f.prefixes < f.d_sae ? f.prefixes : f.d_sae;
    f.rms = o.normalize == NORMALIZE_RMS;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const struct field *one = &fields[i];
        bool can = (kind->uses & one->uses) == one->uses;
        if (opt_given(one->var) && !can)
            refuse(one->name);
        if (opt_given(one->var))
            field_take(one, &f);
        else if (can)
            field_give(one, &f);
    }
    if (o.init && !(kind->uses & USES_INIT))
        refuse("--init");
    if (!opt_given(&o.batch))
        o.batch = (int64_t)r->batch;
    resolve_resampling(&f, kind->uses, r);
    check_ranges(&f);
    *total = total_rows(src, schedule_of(&f, r));
    f.steps = (*total + (uint64_t)o.batch - 1) / (uint64_t)o.batch;
    if (r->l1_warmup_share > 0 && kind->uses & USES_L1 && !opt_given(&o.l1_warmup))
        o.l1_warmup = (int64_t)(f.l1_warmup = (uint64_t)(r->l1_warmup_share * (double)f.steps));
    plan_resampling(&f);
    f.dead_window = (uint64_t)o.window;
    f.seed = (uint64_t)opt.seed;
    return f;
}

/* ---- the fits side by side ---- */

/* `pattern` with every {l1} replaced. */
static char *with_l1(const char *pattern, const char *word)
{
    static const char mark[] = "{l1}";
    const char *hit = strstr(pattern, mark);
    if (!hit)
        return mem_string(pattern);
    char *rest = with_l1(hit + strlen(mark), word), *all = mem_format("%.*s%s%s", (int)(hit - pattern), pattern, word, rest);
    free(rest);
    return all;
}

static void check_names(const char *option, const char *pattern)
{
    if (!pattern)
        return;
    if (strstr(pattern, "{l1}") && !o.l1.n)
        opt_misuse("%s %s: kind %s has no LAMBDA", option, pattern, kind_names[o.kind]);
    if (jobs > 1 && !strstr(pattern, "{l1}"))
        opt_misuse("%s %s: several LAMBDA want {l1} in the name", option, pattern);
}

/* Find out now, not after the last row, that a file could not be written. */
static void try_file(const char *path)
{
    struct io_out *out = io_create(path, 0);
    if (!out)
        tool_die();
    io_abort(out);
}

static void make_jobs(const struct fit_options *f)
{
    jobs = o.l1.n ? o.l1.n : 1;
    job = mem_zero(jobs, sizeof *job);
    check_names("-o", opt.output);
    check_names("--log", o.log);
    for (size_t j = 0; j < jobs; j++) {
        struct fit_options own = *f;
        job[j].l1 = o.l1.n ? o.l1.item[j] : 0;
        job[j].word = o.l1.word ? mem_string(o.l1.word[j]) : mem_format("%.6g", job[j].l1);
        job[j].output = with_l1(opt.output, job[j].word);
        job[j].log_path = o.log ? with_l1(o.log, job[j].word) : NULL;
        for (size_t k = 0; k < j; k++)
            if (job[k].l1 == job[j].l1 || !strcmp(job[k].word, job[j].word))
                opt_misuse("--l1: %s is there twice", job[j].word);
        if (o.l1.n)
            own.l1 = l1_canonical(job[j].l1, (enum l1_units)o.units, own.d_model, own.d_sae);
        job[j].fit = fit_new(&own);
        try_file(job[j].output);
    }
    if (o.checkpoint)
        try_file(o.checkpoint);
}

/* Print, before the messages of a job among several, which it is. */
static const char *job_name(const struct job *j)
{
    static char name[80];
    snprintf(name, sizeof name, "--l1 %.60s: ", j->word);
    return jobs > 1 ? name : "";
}

static size_t jobs_alive(void)
{
    size_t n = 0;
    for (size_t j = 0; j < jobs; j++)
        n += job[j].fit != NULL;
    return n;
}

/* A fit cannot go on, for the reason that stands in err: with it ends the program, unless there are others. */
static void job_fail(struct job *j, bool saved)
{
    j->failed = mem_string(err_text());
    fit_free(j->fit);
    j->fit = NULL;
    if (!jobs_alive()) {
        if (saved)
            err_data("%s%s (%s has the last state)", job_name(j), j->failed, o.checkpoint ? o.checkpoint : o.resume);
        else
            err_data("%s%s", job_name(j), j->failed);
        tool_die();
    }
    tool_warn("%s%s; the other fits go on", job_name(j), j->failed);
}

/* ---- where it begins ---- */

static struct {
    float *rows;                /* (n, d_model) unit decoder rows that --init gave, NULL for none */
    size_t n;
} start;

static void keep_start(const float *rows, size_t n, size_t d)
{
    start.rows = mem_align(n * d, sizeof *start.rows);
    start.n = n;
    memcpy(start.rows, rows, n * d * sizeof *rows);
    for (size_t i = 0; i < n; i++)
        vec_normalise(start.rows + i * d, d, 1e-30f);
}

static void check_start(size_t n, const struct fit_options *f)
{
    if (n > f->d_sae)
        tool_die_data("%s: %zu rows to begin from, but only %zu features: give --d-sae %zu", o.init, n, f->d_sae, n);
}

/* Set what --init gives; with fits resumed only remember it, for the comparison at the end. */
static void adopt(bool resumed)
{
    const struct fit_options *f = &job[0].fit->o;
    if (!o.init)
        return;
    if (rowsfile_names(o.init)) {
        size_t n;
        float *rows = rowsfile_load(o.init, f->d_model, &n);
        if (!rows)
            tool_die();
        check_start(n, f);
        for (size_t j = 0; !resumed && j < jobs; j++)
            fit_adopt_rows(job[j].fit, rows, n);
        keep_start(rows, n, f->d_model);
        free(rows);
        return;
    }
    struct sae *sae = tool_sae(o.init);
    if (sae->d_model != f->d_model)
        tool_die_data("%s: a dictionary of rows %zu wide, the rows are %zu wide", o.init, sae->d_model, f->d_model);
    check_start(sae->d_sae, f);
    for (size_t j = 0; !resumed && j < jobs; j++)
        fit_adopt_sae(job[j].fit, sae);
    keep_start(sae->w_dec, sae->d_sae, f->d_model);
    sae_free(sae);
}

/* How far a dictionary has gone from where it began. */
static void say_start(const struct job *j, const struct sae *sae)
{
    struct cosine_stats stats;
    double sum = 0;
    if (!start.rows || !opt.verbose)
        return;
    cosine_all(start.rows, start.n, sae->w_dec, sae->d_sae, sae->d_model, false, 1, &stats);
    for (size_t i = 0; i < start.n; i++)
        sum += stats.nearest[i].item[0].key;
    cosine_free(&stats, start.n);
    tool_note("%sMMCS of what %s gave to the result: %.4f", job_name(j), o.init, sum / (double)start.n);
}

/* ---- stopping and going on ---- */

struct run {
    struct source src;
    struct shuffle *rows;
    uint64_t used, total;       /* rows so far; of all, 0: not known */
    uint32_t crc;               /* of those used, in their order */
    bool begun, saved;          /* there is something to save; a checkpoint of it is there */
    double rate;                /* of the last step */
};

static void on_stop(int number)
{
    if (stop) {                 /* a second time: at once */
        io_tidy_on_signals();
        raise(number);
    }
    stop = number;
}

static void catch_stops(void)
{
    static const int signals[] = { SIGINT, SIGTERM };
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction sa = { .sa_handler = on_stop }, old;
        sigaction(signals[i], NULL, &old);
        if (old.sa_handler != SIG_IGN)
            sigaction(signals[i], &sa, NULL);
    }
    io_stop_on(&stop);
}

static void set_text(json_t *meta, char *value, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void set_text(json_t *meta, char *value, const char *format, ...)
{
    char key[40];
    va_list ap;
    va_start(ap, format);
    vsnprintf(key, sizeof key, format, ap);
    va_end(ap);
    if (json_object_set_new(meta, key, json_string(value)))
        mem_die(0);
    free(value);
}

/* All that changes numbers, as it is given on the command line. */
static char *options_text(void)
{
    json_t *h = tool_history(NULL, 0);
    char *text = json_dumps(json_object_get(h, "args"), JSON_COMPACT);
    json_decref(h);
    return text;
}

static void save(struct run *r)
{
    json_t *meta = json_object();
    struct fit **fits = mem_alloc(jobs, sizeof *fits);
    set_text(meta, options_text(), "options");
    set_text(meta, mem_format("%" PRIu64, r->used), "rows");
    set_text(meta, mem_format("%" PRIu32, r->crc), "crc");
    set_text(meta, mem_format("%.17g", tool_clock() - job[0].log.began), "seconds");
    for (size_t j = 0; j < jobs; j++) {
        fits[j] = job[j].fit;
        if (job[j].failed)
            set_text(meta, mem_string(job[j].failed), "failed.%zu", j);
        set_text(meta, mem_format("%ld", fitlog_bytes(&job[j].log)), "log.%zu", j);
        set_text(meta, mem_format("%" PRIu64, job[j].log.resampled), "resampled.%zu", j);
    }
    for (size_t j = 0; j < jobs; j++)
        if (job[j].fit && fit_check(job[j].fit)) {
            job_fail(&job[j], r->saved);
            fits[j] = NULL;
            set_text(meta, mem_string(job[j].failed), "failed.%zu", j);
        }
    if (fitstate_save(o.checkpoint, fits, jobs, meta))
        tool_die();
    r->saved = true;
    free(fits);
    json_decref(meta);
}

/* A signal has asked for the end. */
static void stop_now(struct run *r)
{
    if (o.checkpoint && r->begun) {
        save(r);
        tool_note("%s: the state after %" PRIu64 " rows", o.checkpoint, r->used);
    }
    tool_progress_end();
    int number = stop;
    io_tidy_on_signals();
    raise(number);
}

/* Reading has failed: what had been done till then may still be wanted. */
static void die_reading(struct run *r)
{
    if (stop)
        stop_now(r);
    if (o.checkpoint && r->begun) {
        char *why = mem_string(err_text());
        enum err_status status = err_status();
        save(r);
        tool_progress_end();
        fprintf(stderr, "%s: %s\n", mem_program, why);
        exit((int)status);
    }
    tool_die();
}

static const char *meta_text(const json_t *meta, const char *format, ...) __attribute__((format(printf, 2, 3)));
static const char *meta_text(const json_t *meta, const char *format, ...)
{
    char key[40];
    va_list ap;
    va_start(ap, format);
    vsnprintf(key, sizeof key, format, ap);
    va_end(ap);
    const char *text = json_string_value(json_object_get(meta, key));
    return text ? text : "";
}

/* The word behind option `name`, "" when it has none, NULL when the option is not among args. */
static const char *argument(const json_t *args, const char *name)
{
    size_t i;
    json_t *word;
    json_array_foreach(args, i, word) {
        const char *text = json_string_value(word), *next = json_string_value(json_array_get(args, i + 1));
        if (text && !strcmp(text, name))
            return next && strncmp(next, "--", 2) ? next : "";
    }
    return NULL;
}

/* The options now and then must be the same; the first that is not is named. */
static void compare_options(const json_t *meta)
{
    char *text = options_text();
    json_t *now = json_loads(text, 0, NULL), *then = json_loads(meta_text(meta, "options"), 0, NULL), *word;
    const json_t *const side[] = { now, then };
    size_t i;
    for (int s = 0; s < 2; s++)
        json_array_foreach(side[s], i, word) {
            const char *name = json_string_value(word);
            if (!name || strncmp(name, "--", 2))
                continue;
            const char *a = argument(now, name), *b = argument(then, name);
            if (!a || !b || strcmp(a, b))
                opt_misuse("--resume %s: %s is %s, in the checkpoint it is %s", o.resume, name,
                           !a ? "not given" : *a ? a : "given", !b ? "not given" : *b ? b : "given");
        }
    json_decref(now);
    json_decref(then);
    free(text);
}

static uint32_t crc_rows(uint32_t crc, const float *x, size_t n, size_t d)
{
    return libdeflate_crc32(crc, x, n * d * sizeof *x);
}

/* Take the rows that had been used out of the buffer once more, in the same order. */
static void replay(struct run *r, float *x, uint64_t used, uint32_t crc)
{
    size_t d = r->src.in->d;
    while (r->used < used) {
        ssize_t n = shuffle_take(r->rows, x, (size_t)o.batch);
        if (n < 0)
            die_reading(r);
        if (!n)
            tool_die_data("%s: %" PRIu64 " rows, but the checkpoint has used %" PRIu64, stream_name(r->src.in), r->used,
                          used);
        r->crc = crc_rows(r->crc, x, (size_t)n, d);
        r->used += (uint64_t)n;
        tool_progress(r->used, r->total, "rows used before");
    }
    if (r->used != used || r->crc != crc)
        tool_die_data("%s: not the rows that the checkpoint has used", stream_name(r->src.in));
}

static bool resuming(void)
{
    return o.resume && !(o.checkpoint && !strcmp(o.checkpoint, o.resume) && access(o.resume, F_OK));
}

static void resume(struct run *r, float *x)
{
    struct fitstate *s = fitstate_open(o.resume);
    if (!s)
        tool_die();
    const json_t *meta = fitstate_meta(s);
    compare_options(meta);
    double seconds = strtod(meta_text(meta, "seconds"), NULL);
    for (size_t j = 0; j < jobs; j++) {
        const char *failed = meta_text(meta, "failed.%zu", j);
        if (*failed) {
            err_data("%s", failed);
            job_fail(&job[j], true);
        } else if (fitstate_restore(s, j, job[j].fit)) {
            tool_die();
        }
        fitlog_open(&job[j].log, job[j].log_path, o.eval, strtol(meta_text(meta, "log.%zu", j), NULL, 10), seconds);
        job[j].log.resampled = strtoull(meta_text(meta, "resampled.%zu", j), NULL, 10);
    }
    replay(r, x, strtoull(meta_text(meta, "rows"), NULL, 10), (uint32_t)strtoul(meta_text(meta, "crc"), NULL, 10));
    tool_note("%s: going on behind row %" PRIu64, o.resume, r->used);
    r->saved = r->begun = true;
    fitstate_close(s);
    adopt(true);
}

/* ---- the work ---- */

static void begin(struct run *r)
{
    size_t n;
    const float *first = shuffle_rows(r->rows, &n);
    for (size_t j = 0; j < jobs; j++) {
        fitlog_open(&job[j].log, job[j].log_path, o.eval, -1, 0);
        if (fit_begin(job[j].fit, first, n))
            tool_die();
    }
    adopt(false);
    r->begun = true;
}

static void show_progress(const struct run *r)
{
    char remark[160] = "";
    for (size_t j = 0, at = 0; j < jobs && at < 100; j++) {
        if (!job[j].fit)
            continue;
        struct fit_report m = fit_tally_report(&job[j].fit->tally, job[j].fit->o.dead_window);
        at += (size_t)snprintf(remark + at, sizeof remark - at, "%s%sloss %.4g, L0 %.1f, FVU %.3f, dead %zu",
                               at ? "; " : "", job_name(&job[j]), m.loss, m.l0, m.fvu, m.dead);
    }
    tool_progress(r->used, r->total, remark);
}

static void resample(struct run *r, struct job *j)
{
    size_t n;
    const float *x = shuffle_rows(r->rows, &n);
    if (!n)
        return;
    struct resampled e = fit_resample(j->fit, x, n);
    tool_note("%sstep %" PRIu64 ": %zu dead features, %zu of them resampled from %zu rows, whose mean loss was %.6g",
              job_name(j), j->fit->step, e.dead, e.n, e.rows, e.before);
    for (size_t k = 0; k < e.n; k++)
        tool_note("%sresampled feature %" PRIu32 " as row %zu of the buffer, loss %.6g", job_name(j), e.feature[k], e.row[k],
                  e.loss[k]);
    resampled_free(&e);
}

static void step(struct run *r, struct job *j, const float *x, size_t n)
{
    r->rate = fit_rate(j->fit);
    if (fit_step(j->fit, x, n)) {
        job_fail(j, r->saved);
        return;
    }
    if (fit_resample_due(j->fit))
        resample(r, j);
    if (j->fit->step % (uint64_t)o.log_every == 0)
        fitlog_line(&j->log, j->fit, r->used, r->rate);
}

static void run(struct run *r, float *x)
{
    size_t d = r->src.in->d;
    ssize_t n;
    while ((n = shuffle_take(r->rows, x, (size_t)o.batch)) > 0) {
        uint64_t due = (r->used / (uint64_t)o.every + 1) * (uint64_t)o.every;
        r->used += (uint64_t)n;
        r->crc = o.checkpoint ? crc_rows(r->crc, x, (size_t)n, d) : 0;
        for (size_t j = 0; j < jobs; j++)
            if (job[j].fit)
                step(r, &job[j], x, (size_t)n);
        show_progress(r);
        if (stop)
            stop_now(r);
        if (o.checkpoint && r->used >= due)
            save(r);
    }
    if (n < 0)
        die_reading(r);
    for (size_t j = 0; j < jobs; j++)
        if (job[j].fit && job[j].fit->tally.rows)
            fitlog_line(&job[j].log, job[j].fit, r->used, r->rate);
    tool_progress_end();
}

/* What the next tool will want to know; the history of the rows, and this fit. */
static void describe(struct sae *sae, const struct job *j, const struct stream_in *in, uint64_t rows, char **inputs,
                     size_t n)
{
    static const char *const kept[] = { "hook", "model", "model_sha" };
    json_t *history = json_deep_copy(json_object_get(in->head, "history"));
    struct opt_reals all = o.l1;
    double own = j->l1;
    if (o.l1.n)
        o.l1 = (struct opt_reals){ .item = &own, .n = 1 };      /* the command of this one alone */
    if (!json_is_array(history))
        history = json_array();
    if (!opt.no_history && json_array_append_new(history, tool_history(inputs, n)))
        mem_die(0);
    o.l1 = all;
    char *text = json_dumps(history, JSON_COMPACT), *count = mem_format("%" PRIu64, rows);
    char *seed = mem_format("%" PRId64, opt.seed);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (json_is_string(json_object_get(in->head, kept[i])))
            json_object_set(sae->meta, kept[i], json_object_get(in->head, kept[i]));
    json_object_set_new(sae->meta, "rows", json_string(count));
    json_object_set_new(sae->meta, "seed", json_string(seed));
    if (text && json_array_size(history))
        json_object_set_new(sae->meta, "history", json_string(text));
    free(text);
    free(count);
    free(seed);
    json_decref(history);
}

static void say_end(const struct job *j)
{
    const struct fit_report *last = &j->log.last;
    double nothing = last->fvu > 0 ? last->mse * (double)j->fit->o.d_model / last->fvu : 0;
    if (last->rows && last->l0 == 0)
        tool_warn("%snote: no feature fires any more: lower --l1, or --lr", job_name(j));
    else if (last->rows && last->fvu >= 1)
        tool_warn("%snote: FVU %.3g, worse than the mean row would do: lower --l1, or fit on more rows", job_name(j),
                  last->fvu);
    else if (last->rows && j->fit->o.recon == 1 && nothing > 0 && last->loss > 2 * nothing)
        tool_warn("%snote: loss %.3g, where no features at all would have %.3g: lower --l1, or fit on more rows",
                  job_name(j), last->loss, nothing);
    if (o.eval && !opt.quiet) {
        struct fit_report r = fitlog_evaluate(j->fit, o.eval);
        tool_warn("%sheld-out rows: loss %.6g, mse %.6g, FVU %.4f, L0 %.1f, dead %zu", job_name(j), r.loss, r.mse, r.fvu,
                  r.l0, r.dead);
    }
}

/* The dictionary of one job, in its file. */
static void finish(struct job *j, const struct run *r, char **inputs, size_t n)
{
    struct sae *sae = fit_export(j->fit);
    if (!sae) {
        job_fail(j, r->saved);
        return;
    }
    describe(sae, j, r->src.in, r->used, inputs, n);
    if (saefile_save(j->output, sae))
        tool_die();
    say_end(j);
    say_start(j, sae);
    fitlog_close(&j->log);
    sae_free(sae);
}

static int fit(int argc, char **argv)
{
    struct run r = { .src = { .path = argc ? argv[0] : NULL } };
    r.src.in = tool_open(argc, argv, 0);
    tool_want(r.src.in, STREAM_ACTS, 0, "");
    size_t d = r.src.in->d, n;
    if (o.epochs > 1 && !io_seekable(r.src.in->io))
        opt_misuse("--epochs above 1 needs a file, not %s", stream_name(r.src.in));
    struct fit_options options = resolve(&r.src, &r.total);
    make_jobs(&options);
    if (o.eval)
        stream_close(open_acts(o.eval, d));
    if (o.checkpoint)
        catch_stops();

    float *x = mem_align((size_t)o.batch * d, sizeof *x);
    r.rows = shuffle_new((size_t)o.buffer, d, (uint64_t)opt.seed, next_rows, &r.src);
    if (shuffle_fill(r.rows))
        die_reading(&r);
    shuffle_rows(r.rows, &n);
    if (!n)
        tool_die_data("%s: no rows to fit", stream_name(r.src.in));
    if (resuming())
        resume(&r, x);
    else
        begin(&r);
    run(&r, x);
    if (o.rows >= 0 && r.used < (uint64_t)o.rows * (uint64_t)o.epochs)
        tool_warn("note: the input has fewer rows than -n: %" PRIu64 " were used", r.used);
    for (size_t j = 0; j < jobs; j++)
        if (job[j].fit)
            finish(&job[j], &r, argv, (size_t)argc);
    bool failed = false;
    for (size_t j = 0; j < jobs; j++) {
        failed |= job[j].failed != NULL;
        fit_free(job[j].fit);
    }
    shuffle_free(r.rows);
    stream_close(r.src.in);
    free(start.rows);
    free(x);
    return failed ? ERR_DATA : 0;
}

int main(int argc, char **argv)
{
    tool_begin(&argc, &argv, &usage, table);
    if (o.info && (!argc || opt.output))
        opt_misuse("--info wants a dictionary, and no -o");
    if (o.info)
        return fitinfo_print(argv[0]);
    if (!opt.output)
        opt_misuse("-o SAE is required");
    if (opt_given(&o.every) && !o.checkpoint)
        opt_misuse("--every needs --checkpoint");
    tool_arithmetic();
    return fit(argc, argv);
}
