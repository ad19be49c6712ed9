# gnuplot -c curves.gnuplot > curves.svg, in this folder
set terminal svg size 720,360 font "sans-serif,13" background "white"
set datafile separator ","
set xlabel "environment steps"
set ylabel "return, 10 deterministic episodes"
set format x "%.0s%c"
set key top left
set grid
plot "halfcheetah-1.csv" using 1:2:3 skip 1 with yerrorlines pointtype 6 pointsize 0.4 linecolor "#0072b2" title "half cheetah", \
     "walker2d-1.csv" using 1:2:3 skip 1 with yerrorlines pointtype 9 pointsize 0.4 linecolor "#009e73" title "walker2d", \
     "hopper-1.csv" using 1:2:3 skip 1 with yerrorlines pointtype 5 pointsize 0.4 linecolor "#d55e00" title "hopper"
