"""Which module declares an operator. Made by `docs/operator_modules.py`; not to be edited."""

NAMES = """\
arithmetic: absolute add as_float32 clamp cos divide exp ln maximum minimum mod multiply negate power sin sqrt
arithmetic: subtract
array_shapes: array_mask array_pad array_project array_reshape array_sort bits_to_array
arrays: array_compact array_contains array_dot array_element array_find array_interpolate_linear
arrays: array_repeat array_slice array_transpose cummax cummin cumproduct cumsum order rearrange sort
bands: all_of any_of array_flatten regex_rename slice_bands to_bands
bits: bit_count bitwise_and bitwise_not bitwise_or bitwise_xor cast extract_bits left_shift right_shift
bits: to_float32 to_float64 to_int16 to_int32 to_int64 to_int8 to_uint16 to_uint32 to_uint64 to_uint8
breaks: break_at ewma_at ewmacd structural_break
ccdc: ccdc ccdc_segment continuous_at
chips: predict segment_semantic super_resolve
classify: classify classify_confidence classify_probabilities
clouds: cloud_displacement_index simple_cloud_score simple_composite
colors: db_to_linear hsv_to_rgb linear_to_db pansharpen rgb_to_hsv
components: component_size connected_components distance_transform fill_holes remove_small
composites: medoid mosaic quality_mosaic take_time
convolution: convolve gaussian gradient laplacian sobel
differences: change_vector embedding_change post_classification_change ratio_change
distributions: auto_histogram frequency_histogram histogram2d
edges: canny hough_lines medial_axis skeletonize
embedding: angle cosine_similarity distance norm unit_vector
filters: bilateral_filter correlate gabor zero_crossing
flow: accumulate_flow fill_minima flow_accumulation flow_direction flow_direction_on_grid terrain_products
focal: focal_count focal_max focal_mean focal_median focal_min focal_mode focal_std focal_sum
focal: focal_variance
functions: cbrt ceil expm1 floor floor_divide frac hypot int interpolate linear_scale_range log log10 log1p
functions: log2 polynomial quotient reciprocal round scale_offset sgn square unit_scale
indices: spectral_index tasseled_cap
interpolation: interpolate_at interpolate_time resample_time
kernel_sums: apply_kernel kernel_sum kernel_sum_edges
landtrendr: disturbance_at greatest_disturbance landtrendr landtrendr_fit segments_at
logic: between eq gt gte is_valid logical_and logical_not logical_or logical_xor lt lte neq self_mask
logic: unmask where
mad: mad mad_coefficients mad_variates
masks: fill_gaps mask mask_qa
matrices: matrix_cholesky matrix_determinant matrix_diagonal matrix_eigen matrix_fnorm matrix_gramian
matrices: matrix_identity matrix_inverse matrix_lu matrix_multiply matrix_pseudo_inverse matrix_qr matrix_rank
matrices: matrix_solve matrix_svd matrix_to_diag matrix_trace matrix_transpose
metadata: constant_like pixel_area pixel_coordinates pixel_lonlat random set_properties
mixtures: unmix
morphology: black_tophat closing dilation erosion opening white_tophat
multivariate: covariance_matrix geometric_median
objects: cost_from_bands cumulative_cost reduce_connected_components reduce_labels seed_grid
periods: aggregate_period aggregate_temporal anomaly climatology filter_calendar filter_day_of_year lag
periods: moving_window reduce_groups rename_times
pictures: colormap hillshade_blend visualize
pixel_clusters: gmeans_segment kmeans_segment
rays: directional_distance directional_distance_on_grid hill_shadow hill_shadow_on_grid viewshed
reducers: all any circular_mean circular_std circular_variance combine_reducers count_distinct count_every
reducers: extrema kurtosis mode product reduce_bands sample_variance skew
registration: cross_correlation displacement register
regressions: histogram lasso_regression linear_regression pearson ridge_regression spearman
regressors: regress
regrid: blend clip_to_bounds displace displace_on_grid resample set_default_projection translate
remap: first_non_zero first_valid is_in is_infinite is_nan is_nodata mask_where reclassify remap set_nodata
robust: robust_regression
scenes: getis_ord histogram_equalize histogram_match local_moran match_halves over_scene pca stretch
seasons: forma_trend harmonic_fit harmonics_at harmonics_on linear_trend phenology predict_harmonic season_at
seasons: trend_at
segments: felzenszwalb region_grow region_grow_on_bands snic watershed watershed_on_bands
sensors: landsat_toa to_reflectance
smoothing: savgol_time whittaker_time
special: digamma erf erf_inv erfc erfc_inv gamma gammainc lanczos lgamma sigmoid trigamma
speckle: frost_filter lee_filter refined_lee
spectra: spectral_angle spectral_dilation spectral_distance spectral_distance_between spectral_erosion
spectra: spectral_gradient
spectral: arvi awei bai bsi cig evi evi2 gndvi kndvi mndwi msavi nbr nbr2 ndbi ndmi ndsi ndvi ndwi nirv
spectral: normalized_difference osavi savi
spectral_regions: spectral_region
surface: ard_surface_reflectance atmospheric_correct topographic_correct
temporal: argmax argmin count first last max mean median min percentile sample_std std sum variance
terrain: aspect aspect_on_grid curvature curvature_on_grid hillshade hillshade_on_grid roughness slope
terrain: slope_on_grid tpi tri
texture: entropy glcm
thresholds: otsu
trends: count_runs covariance interval_mean kendall linear_fit mann_kendall sens_slope
trigonometric: arccos arcosh arcsin arctan arctan2 arsinh artanh cosh degrees radians sinc sinh tan tanh
vct: forest_z_score tracked_at vct
verdet: slopes_at verdet
windows: focal_percentile focal_range local_binary_pattern neighborhood_to_bands reduce_neighborhood
"""
MODULES = {name: line.partition(":")[0] for line in NAMES.splitlines() for name in line.split()[1:]}
