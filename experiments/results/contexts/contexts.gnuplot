# contexts.svg, from report-summary.csv: gnuplot contexts.gnuplot, in this folder.
set terminal svg size 1000,560 font "sans-serif,12" background "white"
set output "contexts.svg"
set datafile separator ","
set multiplot layout 2,3 margins 0.065,0.99,0.09,0.94 spacing 0.08,0.16
set border 3
set tics nomirror out scale 0.5
set grid lc rgb "#dddddd" lt 1
set logscale x
set xrange [0.7:140]
set xtics (1, 20, 100)
set key bottom right samplen 2
rows(dataset, kind) = sprintf("< grep '^%s,[^,]*,%s,' report-summary.csv", dataset, kind)
datasets = "demo/hopper-medium demo/hopper-position-medium demo/tmaze-90"
names = "hopper-medium hopper-position-medium T-maze"
set yrange [0:*]
do for [i = 1:3] {
  set title word(names, i)
  set ylabel i == 3 ? "successes in %" : "normalized score"
  plot rows(word(datasets, i), "cosFormer") using ($4 * 0.97):9:10:11 with yerrorbars lc rgb "#0072b2" ps 0 notitle, \
       rows(word(datasets, i), "softmax") using ($4 * 1.03):9:10:11 with yerrorbars lc rgb "#d55e00" ps 0 notitle, \
       rows(word(datasets, i), "cosFormer") using ($4 * 0.97):9 with linespoints lc rgb "#0072b2" lw 2 pt 7 title "cosFormer", \
       rows(word(datasets, i), "softmax") using ($4 * 1.03):9 with linespoints lc rgb "#d55e00" lw 2 dt 2 pt 5 title "softmax"
}
unset title
set xlabel "context in steps" offset 0,0.5
set ylabel "training: us per token"
set key top right
do for [i = 1:3] {
  plot rows(word(datasets, i), "cosFormer") using 4:(1000 * $13 / $14) with linespoints lc rgb "#0072b2" lw 2 pt 7 title "cosFormer", \
       rows(word(datasets, i), "softmax") using 4:(1000 * $13 / $14) with linespoints lc rgb "#d55e00" lw 2 dt 2 pt 5 title "softmax"
}
unset multiplot
