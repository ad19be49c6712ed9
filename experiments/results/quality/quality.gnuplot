# quality.svg, from report-summary.csv: gnuplot quality.gnuplot, in this folder.
set terminal svg size 900,300 font "sans-serif,12" background "white"
set output "quality.svg"
set datafile separator ","
set border 3
set tics nomirror out scale 0.5
set grid ytics lc rgb "#dddddd" lt 1
set key outside top left horizontal samplen 1
set ylabel "normalized score, IQM of 5 seeds"
set yrange [0:*]
set xrange [-0.5:3.5]
set xtics ("halfcheetah-medium" 0, "halfcheetah-medium-expert" 1, "hopper-medium" 2, "hopper-medium-expert" 3)
set style fill solid 0.9 noborder
set errorbars lc rgb "#333333"
rows(kind) = sprintf("< grep ',%s,' report-summary.csv", kind)
kinds = "cosFormer softmax linear BC"
colors = "#0072b2 #d55e00 #009e73 #999999"
plot for [i = 1:4] rows(word(kinds, i)) using ($0 + 0.2 * i - 0.5):9:10:11:(0.18) with boxerrorbars lc rgb word(colors, i) title word(kinds, i)
