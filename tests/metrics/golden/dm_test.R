# Writes dm_test.csv: forecast::dm.test (Debian r-cran-forecast) on losses that any language can form.
# Rscript tests/metrics/golden/dm_test.R > tests/metrics/golden/dm_test.csv
suppressPackageStartupMessages(library(forecast))
cat("n,horizon_bars,statistic,p_less\n")
for (case in list(c(60, 5), c(120, 5), c(300, 22))) {
  i <- seq_len(case[1])
  a <- 1 + sin(0.7 * i)^2 + (37 * i) %% 11 / 11
  b <- 1.1 + cos(0.31 * i)^2 + (53 * i) %% 17 / 17
  test <- dm.test(a, b, alternative = "less", h = case[2], power = 1, varestimator = "bartlett")
  cat(sprintf("%d,%d,%.15g,%.15g\n", case[1], case[2], test$statistic, test$p.value))
}
