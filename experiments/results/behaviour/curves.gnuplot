# gnuplot -c curves.gnuplot > curves.svg, in this folder
set terminal svg size 720,360 font "sans-serif,13" background "white"
set datafile separator ","
set xlabel "environment steps"
set ylabel "return, 10 deterministic episodes"
set format x "%.0s%c"
set key bottom right
set grid
plot "halfcheetah-0.csv" using 1:2:3 skip 1 with yerrorlines pointtype 6 linecolor "#0072b2" title "half cheetah", \
     "hopper-0.csv" using 1:2:3 skip 1 with yerrorlines pointtype 5 linecolor "#d55e00" dashtype 2 title "hopper"
