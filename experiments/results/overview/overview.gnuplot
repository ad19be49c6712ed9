# overview.svg: gnuplot overview.gnuplot, in this folder.
# returns.csv: the table of envs/README.md, means and their standard errors; speed.csv: that of results/speed;
# success over context: results/contexts.
set terminal svg size 1080,320 font "sans-serif,11" background "white"
set output "overview.svg"
set datafile separator ","
set multiplot layout 1,3 margins 0.05,0.985,0.27,0.87 spacing 0.075,0
set border 3
set tics nomirror out scale 0.5
set grid ytics lc rgb "#dddddd" lw 1 lt 1

set title "Returns of published agents, % of the published mean"
set style data histogram
set style histogram errorbars gap 1.5 lw 1
set errorbars lc rgb "#333333"
set style fill solid 0.9 noborder
set yrange [0:135]
set ytics 0,25,100
set key top left samplen 1 horizontal maxrows 1
set xtics font ",10" rotate by 22 right
plot "returns.csv" using (100):(100 * $3 / $2):xtic(1) every ::1 title "published" lc rgb "#999999", \
     "" using (100 * $4 / $2):(100 * $5 / $2) every ::1 title "cosdt" lc rgb "#1f77b4", \
     "" using (100 * $6 / $2):(100 * $7 / $2) every ::1 title "gymnasium" lc rgb "#ff7f0e"

set title "Speed, times Hugging Face Transformers"
unset key
set style data boxes
set boxwidth 0.6
set logscale y 2
set ytics autofreq
set yrange [1:64]
set xrange [-0.6:4.6]
plot "speed.csv" using 0:2:xtic(1) every ::1 lc rgb "#1f77b4", \
     "" using 0:2:(sprintf("%.1f", $2)) every ::1 with labels offset 0,0.7 font ",10"

set title "T-maze, corridor of 90: successes in %"
unset logscale
set ytics 0,25,100
set key bottom right samplen 2 vertical
set xlabel "context in steps" offset 0,0.6
set logscale x
set xrange [0.8:130]
set yrange [0:108]
set xtics (1, 20, 100) norotate center
success(kind) = "< grep '^demo/tmaze-90,.*," . kind . ",' ../contexts/report-summary.csv"
plot success("cosFormer") using 4:7 with linespoints lc rgb "#1f77b4" lw 2 pt 7 title "cosFormer", \
     success("softmax") using 4:7 with linespoints lc rgb "#777777" lw 2 dt 2 pt 6 title "softmax"
unset multiplot
