# Where to write names beside points, both axes logarithmic, so that none covers a point or another name.
#
# Input: lines `x y name`, separated by tabs. -v width= -v height= are the sizes of the plot in pixels. Output, for gnuplot:
# ranges, tics at 1, 2 and 5 times powers of ten, and a label for each point. A name goes right of its point, or, where that
# is taken, left, above, below and so on, further and further away.
# SPDX-License-Identifier: MIT
function log10(v) { return log(v) / log(10) }
function tics(lo, hi,    e, m, v, list) {
  for (e = int(lo) - 2; e <= hi + 1; e++)
    for (m = 0; m < 3; m++) {
      v = e + log10(m == 0 ? 1 : m == 1 ? 2 : 5)
      if (v >= lo && v <= hi) list = list (list == "" ? "" : ", ") sprintf("%.3g", 10 ^ v)
    }
  return list
}
function axis(letter, lo, hi) {
  printf "set %srange [%.6g:%.6g]\nset %stics (%s)\n", letter, 10 ^ lo, 10 ^ hi, letter, tics(lo, hi)
}
function free(left, low, right, high,    i) {
  if (left < 2 || low < 2 || right > width - 2 || high > height - 2) return 0
  for (i = 1; i <= boxes; i++)
    if (left < r[i] && right > l[i] && low < t[i] && high > b[i]) return 0
  return 1
}
function take(left, low, right, high) { boxes++; l[boxes] = left; b[boxes] = low; r[boxes] = right; t[boxes] = high }
BEGIN { FS = "\t" }
{ gsub(/["\\]/, "", $3); x[++n] = log10($1); y[n] = log10($2); name[n] = $3
  if (n == 1 || x[n] < x0) x0 = x[n]; if (n == 1 || x[n] > x1) x1 = x[n]
  if (n == 1 || y[n] < y0) y0 = y[n]; if (n == 1 || y[n] > y1) y1 = y[n] }
END {
  padx = 0.15 + 0.2 * (x1 - x0); pady = 0.1 + 0.1 * (y1 - y0)
  x0 -= padx; x1 += padx; y0 -= pady; y1 += pady
  axis("x", x0, x1); axis("y", y0, y1)
  for (i = 1; i <= n; i++) {
    px[i] = (x[i] - x0) / (x1 - x0) * width; py[i] = (y[i] - y0) / (y1 - y0) * height
    take(px[i] - 5, py[i] - 5, px[i] + 5, py[i] + 5)
  }
  for (i = 1; i <= n; i++) {
    w = 7.2 * length(name[i]); h = 14; done = 0
    for (away = 8; away < 80 && !done; away += 8)
      for (side = 0; side < 8 && !done; side++) {
        left = side == 0 || side == 4 || side == 5 ? px[i] + away : side == 1 || side > 5 ? px[i] - away - w : px[i] - w / 2
        low = side < 2 ? py[i] - h / 2 : side % 2 ? py[i] - away - h : py[i] + away
        if (free(left, low, left + w, low + h)) done = 1
      }
    take(left, low, left + w, low + h)
    printf "set label \"%s\" at graph %.4f,%.4f left noenhanced\n", name[i], left / width, (low + h / 2) / height
  }
}
