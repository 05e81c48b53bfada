# What the scripts of the causal pipelines share; they are run by their Makefiles, which set the variables.
# SPDX-License-Identifier: MIT
set -euo pipefail
export LC_ALL=C
mkdir -p "$OUT" "$CACHE"
T=$'\t'

die() { echo "$0: $*" >&2; exit 1; }
command -v act-splice > /dev/null || die "the tools are not there: run make in the root of the checkout first"
[ -r "$TEXT" ] || die "$TEXT: cannot be read"

say() { printf '# %s\n' "$*" >&2; }

# A file of its own in CACHE for what these words say; made by a command that writes to $made.
cached() { # ENDING WORDS...
  printf '%s/%s.%s' "$CACHE" "$(printf '%s\n' "$@" "$MODEL" "$TEXT" "$SPLIT" "$HELD" "$SEED" | cksum | cut -d ' ' -f 1)" "$1"
}

# The text to fit to, and the text held out, which begins with a whole line.
whole() { case $TEXT in *.zst) zstd -dqc "$TEXT" ;; *) cat "$TEXT" ;; esac; }
text() { # train|held
  case $1 in
  train) whole | head -c "-$HELD" ;;
  held) whole | tail -c "$HELD" | sed 1d ;;
  esac
}
rows() { # train|held HOOK [ACT-DUMP-OPTIONS...]: the name of a stream
  local which=$1 hook=$2 n file
  shift 2
  [ "$which" = train ] && n=$ROWS || n=$TOKENS
  file=$(cached saes "$which" "$hook" "$n" "$@")
  [ -s "$file" ] || { text "$which" || true; } | act-dump -q -m "$MODEL" -p "$hook" --split "$SPLIT" -n "$n" -o "$file" "$@" -
  echo "$file"
}
# A dictionary for rows of a hook: its name.
fit() { # HOOK SAE-FIT-OPTIONS...
  local hook=$1 file
  shift
  file=$(cached safetensors "$hook" "$ROWS" "$@")
  if [ ! -s "$file" ]; then
    say "sae-fit $* ($ROWS rows of $hook)"
    sae-fit -q -s "$SEED" -o "$file" "$@" "$(rows train "$hook" -t f16)" 2> "$OUT/fit.err" || { cat "$OUT/fit.err" >&2; exit 1; }
  fi
  echo "$file"
}
# What features are looked for in. Tied: one feature then is all there is of a word, where others share it out among several.
the_sae() { # HOOK
  if [ -n "$SAE" ]; then echo "$SAE"; else fit "$1" --kind tied -x "$RATIO" --l1 0.5 --normalize none --epochs 4 --decay 0.2; fi
}

# Features that a reader can name: their largest values in 12 different contexts are on one and the same word or ending.
nameable() { # CODES: lines `feature token weight contexts`, the clearest first; weight: largest value times firings
  sae-topk -k 12 --distinct "$1" | awk -F '\t' -v OFS='\t' '
    NR > 1 && match($6, /<<.*>>/) {
      token = substr($6, RSTART + 2, RLENGTH - 4)
      if ($2 == 1) { first[$1] = token; weight[$1] = $3 * $7 }
      same[$1] += token == first[$1]
    }
    END { for (f in same) if (first[f] ~ /^ ?[A-Za-z][a-z][a-z]*$/) print f, first[f], weight[f], same[f] }' |
    sort -t "$T" -k 4,4gr -k 3,3gr -k 1,1n
}
name_of_run() { printf '%s, %s' "$(basename "$(cd "$MODEL" && pwd)")" "$HOOK"; }

# One number out of a table of names and values.
value() { awk -F '\t' -v n="$1" '$1 == n { print $2 }' "$2"; }

# A token as figures show it: blanks made visible, nothing that gnuplot takes for its own.
shown='function shown(token) { gsub(/ /, "␣", token); gsub(/["\\]/, "", token); return token }'

# Draw standard input, commands of gnuplot that write to OUT/NAME.svg. Colors 1 to 7 can be told apart by everybody
# (Okabe and Ito, 2008).
draw() { # NAME WIDTH HEIGHT
  local commands n=0 color
  commands=$(cat)
  if command -v "$GNUPLOT" > /dev/null; then
    { printf "set terminal svg size %d,%d font 'sans,12' background 'white'\nset output '%s'\nset datafile separator '\\\\t'\n" \
        "$2" "$3" "$OUT/$1.svg"
      for color in 0072B2 D55E00 009E73 CC79A7 E69F00 56B4E9 000000; do
        n=$((n + 1)) && printf "set linetype %d lc rgb '#%s' lw 1.5 pt 7\n" $n $color
      done
      printf 'set border 3; set tics nomirror out; set key off; set encoding utf8\n%s\n' "$commands"; } |
      "$GNUPLOT" 2> "$OUT/gnuplot.err" || { cat "$OUT/gnuplot.err" >&2; exit 1; }
    say "figure: $OUT/$1.svg"
  else
    say "figure left out: gnuplot is not installed (make deps-dev)"
  fi
}
