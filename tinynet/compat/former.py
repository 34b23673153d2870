"""Names of Keras's that are second names of something here, and names that Keras 3 no longer has.

Like `elsewhere`, this file is imported only when a program asks for a name that is not here.
"""

# Second names, in Keras, of what is here, by module: these simply work.
ALIASES = {
    "": "Regularizer=regularizers.Regularizer",
    "backend": "clear_session=utils.clear_session floatx=config.floatx "
    "set_floatx=config.set_floatx",
    "config": "backend=backend.backend",
    "initializers": """
        constant=initializers.Constant glorot_normal=initializers.GlorotNormal
        glorot_uniform=initializers.GlorotUniform he_normal=initializers.HeNormal
        he_uniform=initializers.HeUniform ones=initializers.Ones zeros=initializers.Zeros
        random_normal=initializers.RandomNormal random_uniform=initializers.RandomUniform
        truncated_normal=initializers.TruncatedNormal variance_scaling=initializers.VarianceScaling
    """,
    "metrics": """
        binary_crossentropy=losses.binary_crossentropy
        categorical_crossentropy=losses.categorical_crossentropy
        mean_absolute_error=losses.mean_absolute_error mean_squared_error=losses.mean_squared_error
        sparse_categorical_crossentropy=losses.sparse_categorical_crossentropy
    """,
    "saving": """
        load_model=models.load_model load_weights=saving.hdf5.load_weights
        save_weights=saving.hdf5.save_weights
    """,
}

# Names that Keras 3 no longer has, and that tutorials still use, by module, or by the name of the
# base class here: `names = the path today`, or `names > the way on`, a key of `elsewhere.WAYS` or a
# text of its own, in which {name} is the name.
FORMER = {
    "": """
keras > it takes the place of all of it. Write: import tinynet as keras
objectives = losses
np_utils = utils
Functional = Model
""",
    "backend": """
abs argmax clip concatenate dot max mean min pow reshape shape square stack sum tanh transpose \
zeros ones expand_dims > arrays are NumPy's or CuPy's. Write: numpy.{name}
relu sigmoid softmax > Write: tinynet.activations.{name}
cast > Write: x.astype("float32")
random_normal random_uniform > Write: numpy.random.default_rng(1)
constant function get_session gradients learning_phase placeholder set_learning_phase \
set_session variable > symbols
eval get_value > Write: numpy.asarray(x)
int_shape > Write: x.shape
set_value > Write: model.optimizer.learning_rate = 0.01
image_dim_ordering set_image_dim_ordering > last
""",
    "datasets": """
cifar = datasets.cifar10
""",
    "initializers": """
normal = initializers.RandomNormal
uniform = initializers.RandomUniform
one = initializers.Ones
zero = initializers.Zeros
""",
    "layers": """
advanced_activations convolutional core embeddings experimental local merge noise normalization \
pooling recurrent wrappers = layers
AtrousConvolution2D = layers.Conv2D
LocallyConnected1D LocallyConnected2D > layer
ThresholdedReLU > activation
CuDNNGRU = layers.GRU
CuDNNLSTM = layers.LSTM
Merge = layers.Concatenate
""",
    "losses": """
bce BCE = losses.binary_crossentropy
mse MSE = losses.mean_squared_error
mae MAE = losses.mean_absolute_error
mape MAPE = losses.mean_absolute_percentage_error
msle MSLE = losses.mean_squared_logarithmic_error
kld KLD kullback_leibler_divergence = losses.kl_divergence
cosine cosine_proximity = losses.cosine_similarity
logcosh = losses.log_cosh
""",
    "metrics": """
acc accuracy > Write: model.compile("sgd", "mse", metrics=["acc"])
bce BCE = metrics.binary_crossentropy
mse MSE = metrics.mean_squared_error
mae MAE = metrics.mean_absolute_error
mape MAPE = metrics.mean_absolute_percentage_error
msle MSLE = metrics.mean_squared_logarithmic_error
kld KLD kullback_leibler_divergence = metrics.kl_divergence
cosine cosine_proximity cosine_similarity = metrics.CosineSimilarity
logcosh = metrics.log_cosh
""",
    "models": """
Functional = models.Model
model_from_config > Write: Sequential.from_config(model.get_config())
model_from_yaml = models.model_from_json
""",
    "optimizers": """
adam_v2 = optimizers.Adam
adadelta adadelta_v2 = optimizers.Adadelta
adagrad adagrad_v2 = optimizers.Adagrad
adamax adamax_v2 = optimizers.Adamax
nadam nadam_v2 = optimizers.Nadam
rmsprop_v2 RMSProp = optimizers.RMSprop
gradient_descent gradient_descent_v2 = optimizers.SGD
experimental = optimizers
""",
    "regularizers": """
l1l2 WeightRegularizer = regularizers.L1L2
""",
    "utils": """
HDF5Matrix > memory-mapped arrays can be data. Write: numpy.load("x.npy", mmap_mode="r")
data_utils generic_utils layer_utils = utils
vis_utils = utils.plot_model
multi_gpu_model = distribution
np_utils = utils.to_categorical
""",
    "Network": """
evaluate_generator > Write: model.evaluate(batches)
fit_generator > Write: model.fit(batches)
predict_classes > for one output, it is model.predict(x) > 0.5. Write: \
model.predict(x).argmax(axis=-1)
predict_generator > Write: model.predict(batches)
predict_proba > Write: model.predict(x)
reset_states > no layer here has a state from batch to batch. Leave it out
to_yaml > Write: model.to_json()
""",
    "LayerBase": """
add_update > change the array in forward, as BatchNormalization does in examples/extending.py
get_input_at > Write: layer.input
get_output_at > Write: layer.output
""",
    "MetricBase": """
reset_states > Write: metric.reset_state()
""",
    "OptimizerBase": """
get_gradients get_updates minimize > Write: model.train_on_batch(x, y)
get_weights weights > Write: optimizer.variables
""",
}

_LOADERS = dict.fromkeys(
    ("workers", "use_multiprocessing", "max_queue_size"), "a PyDataset(workers=4) as x"
)

# Arguments that Keras 3 no longer takes, by the name of the base class here, each with its name
# today, or with what to write.
ARGUMENTS = {
    "OptimizerBase": {
        "lr": "learning_rate",
        "decay": "callbacks=[LearningRateScheduler(lambda epoch: 0.01 / (1 + 0.1 * epoch))] in fit",
        **dict.fromkeys(("alpha", "eta", "rate"), "learning_rate"),
    },
    "LayerBase": {"batch_input_shape": "input_shape=(4,), without the size of the batch"},
    "Dense": {
        "output_dim": "units",
        **dict.fromkeys(("init", "initializer"), "kernel_initializer"),
        "regularizer": "kernel_regularizer",
        "bias": "use_bias",
        "W_regularizer": "kernel_regularizer",
        "W_constraint": "kernel_constraint",
        "b_regularizer": "bias_regularizer",
        "b_constraint": "bias_constraint",
    },
    "Dropout": {"p": "rate"},
    "ModelCheckpoint": {"period": "save_freq=1000, the number of batches"},
    "ReduceLROnPlateau": {"epsilon": "min_delta", "min_learning_rate": "min_lr"},
    "L2": {"l": "l2"},
    "RandomNormal": {"std": "stddev"},
    "TruncatedNormal": {"std": "stddev"},
    "RandomUniform": {"min": "minval", "max": "maxval"},
    "compile": {
        **dict.fromkeys(("optimiser", "optimizers", "optimzer", "opt"), "optimizer"),
        **dict.fromkeys(("losses", "loss_function"), "loss"),
        "metric": "metrics",
    },
    "fit": {
        "nb_epoch": "epochs",
        "num_epochs": "epochs",
        "nb_val_samples": "validation_steps",
        "samples_per_epoch": "steps_per_epoch",
        **_LOADERS,
    },
    "evaluate": {"val_samples": "steps", **_LOADERS},
    "predict": {"val_samples": "steps", **_LOADERS},
}
