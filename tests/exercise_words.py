"""For each wrong answer to an exercise: which results are wrong, and words that its message must hold."""

SAID = {
    "multiply": {
        "forgotten_sum": ("w", "shape (5, 4)", "sum over the batch is missing"),
        "averaged": ("w", "mean over the batch"),
        "swapped": ("x w", "factors are swapped"), "kept": ("w", "shape (1, 4)", "keepdims"),
    },
    "mean": {
        "not_divided": ("x", "1 / N is missing"), "divided_by_all": ("x", "N * C"),
        "not_spread": ("x", "shape (4,)", "shape of y"), "divided_by_features": ("x", "divided by C"),
    },
    "standard_deviation": {
        "no_half": ("var", "1/2 is missing"), "no_minus": ("var", "minus sign"), "power_kept": ("var", "power -3/2"),
        "forgotten_sum": ("var", "shape (5, 4)", "sum over the batch"), "no_eps": ("var", "EPS is missing"),
    },
    "centre": {
        "constant_mean": ("x", "mean is held constant", "path"), "not_averaged": ("x", "1 / N of the mean"),
        "added": ("x", "sign of the path through the mean"), "rows": ("x", "axis 1"),
    },
    "variance": {
        "no_two": ("x", "2 of the square"), "no_n": ("x", "1 / N"), "unbiased": ("x", "N - 1"),
        "not_centred": ("x", "mean is missing"), "mean_of_one": ("x", "1 - 1 / N"),
    },
    "normalize": {
        "unbiased_forward": ("x̂", "N - 1", "ddof=1"), "eps_outside": ("x̂", "EPS is outside the root"),
        "no_root": ("x̂", "square root is missing"), "rows": ("x̂", "axis 1"),
        "constant_statistics": ("x", "mean and the variance are held constant"),
        "constant_variance": ("x", "variance is held constant", "path through the variance"),
        "constant_mean": ("x", "mean is held constant", "path through the mean"), "sums": ("x", "not divided by N"),
    },
    "batch_norm_parameters": {
        "of_x": ("gamma", "x̂, not x"), "forgotten_sum": ("gamma beta", "shape (5, 4)", "sum over the batch"),
        "averaged": ("gamma beta", "mean over the batch"), "of_y": ("gamma", "multiplied by y"),
        "with_gamma": ("beta", "gamma does not belong"),
    },
    "batch_norm": {
        "no_gamma": ("x", "gamma is missing"), "constant_statistics": ("x", "statistics are held constant"),
        "constant_variance": ("x", "variance is held constant"), "sums": ("x", "1 / N is missing"),
        "divided_by_variance": ("x", "square root is missing"), "unbiased": ("x gamma", "N - 1"),
        "no_eps": ("x", "EPS is missing"),
    },
    "batch_norm_images": {
        "batch_only": ("x gamma", "over the batch only"), "corrections_of_batch": ("x", "(0, 2, 3)"),
        "divided_by_batch": ("x", "N * H * W"), "parameters_of_batch": ("gamma beta", "sums over (0, 2, 3)"),
        "no_gamma": ("x", "gamma is missing"),
    },
    "batch_norm_eval": {
        "training": ("x", "gradient in training", "constants"),
        "batch_statistics": ("x gamma", "statistics of the batch are used"), "no_gamma": ("x", "gamma is missing"),
        "no_root": ("x gamma", "square root"), "not_centred": ("gamma", "mean is not subtracted"),
    },
    "running_statistics": {
        "other_way_round": ("running_mean running_var", "other way round"), "biased": ("running_var", "biased"),
        "deviation": ("running_var", "standard deviation"), "added": ("running_mean running_var", "1 - MOMENTUM"),
        "rows": ("running_mean running_var", "all entries"),
    },
    "layer_norm": {
        "gamma_outside": ("x", "gamma is outside the means"), "over_batch": ("x", "means over the batch"),
        "constant_statistics": ("x", "statistics are held constant"),
        "constant_mean": ("x", "mean is held constant", "path through the mean"),
        "constant_variance": ("x", "variance is held constant", "path through the variance"),
        "averaged": ("gamma beta", "means over the batch"),
        "parameters_over_features": ("gamma beta", "shape (5,)", "not axis 1"), "no_gamma": ("x", "gamma is missing"),
    },
    "group_norm": {
        "interleaved": ("x gamma", "interleaved"), "instances": ("x gamma", "instance norm"),
        "whole_sample": ("x gamma", "layer norm"), "gamma_outside": ("x", "gamma is outside"),
        "per_group": ("gamma beta", "shape (2,)", "summed over groups"),
    },
    "rms_norm": {
        "as_layer_norm": ("x", "subtracts no mean"), "constant_rms": ("x", "root mean square is held constant"),
        "gamma_outside": ("x", "gamma is outside the mean"), "of_x": ("gamma", "x / rms, not x"),
        "summed": ("x", "1 / C is missing"),
    },
    "fold": {
        "unscaled_bias": ("new_bias", "bias is not scaled"), "mean_lost": ("new_bias", "running mean is lost"),
        "no_root": ("new_weight new_bias", "square root"), "no_eps": ("new_weight new_bias", "EPS is missing"),
        "beta_scaled": ("new_bias", "beta is scaled"),
    },
    "own_norm": {
        "only_centred": ("y", "scale is not removed"), "squared": ("y", "scale is not removed"),
        "constant_scale": ("x", "axis 1", "is missing"),
        "no_sign": ("x", "sign of x"), "no_mean": ("x", "it should be"),
    },
}  # fmt: skip
