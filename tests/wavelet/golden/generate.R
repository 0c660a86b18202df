# Writes the goldens of test_modwt_golden.py with waveslim (Debian: r-cran-waveslim 1.8.4).
#   Rscript tests/wavelet/golden/generate.R tests/wavelet/golden
suppressMessages(library(waveslim))
stopifnot(packageVersion("waveslim") == "1.8.4")
folder <- commandArgs(trailingOnly = TRUE)[1]
filters <- c("haar", "d4", "d8", "la8", "la16")
levels <- 4

write <- function(table, name) {
  write.csv(format(table, digits = 10, trim = TRUE), file.path(folder, name), row.names = FALSE, quote = FALSE)
}

# One column per filter and coefficient series; modwt is periodic, so the reader skips the boundary.
coefficients <- function(x, filters, levels) {
  columns <- list(x = x)
  for (filter in filters) {
    transform <- modwt(x, filter, n.levels = levels, boundary = "periodic")
    for (part in names(transform)) columns[[paste(filter, part, sep = "_")]] <- transform[[part]]
  }
  as.data.frame(columns)
}

data(ibm)
returns <- diff(log(as.numeric(ibm)))
write(coefficients(returns, filters, levels), "ibm.csv")

# Percival & Walden (2000), p. 42: sixteen values, as waveslim's manual of dwt has them.
series <- c(.2, -.4, -.6, -.5, -.8, -.4, -.9, 0, -.2, .1, -.1, .1, .7, .9, 0, .3)
write(coefficients(series, c("haar", "la8"), 2), "percival_walden.csv")

variances <- data.frame(level = 1:levels)
for (filter in filters) {
  blanked <- brick.wall(modwt(returns, filter, n.levels = levels), filter)
  variances[[filter]] <- wave.variance(blanked)[1:levels, "wavevar"]
}
write(variances, "ibm_variance.csv")

# Two exchange rates and the correlation of their returns' wavelet coefficients, by level.
data(exchange)
rates <- diff(log(exchange))
write(data.frame(dem = as.numeric(rates[, 1]), jpy = as.numeric(rates[, 2])), "exchange.csv")
blanked <- lapply(1:2, function(i) brick.wall(modwt(as.numeric(rates[, i]), "la8", n.levels = levels), "la8"))
correlation <- wave.correlation(blanked[[1]], blanked[[2]], N = nrow(rates))
write(data.frame(level = 1:levels, la8 = correlation[1:levels, 1]), "exchange_correlation.csv")
