"""What is not here: Keras's public names that tinynet does not have, and what to use instead.

`missing` makes an error of an entry when a program asks for such a name; this file is imported only
then. The tests compare the names with Keras's, and write `README.md` beside this file from them.
For modules that tinynet lacks, only the module is listed: nothing below it can be reached.
"""

# What many groups below have in common, each as the end of a sentence.
WAYS = {
    "layer": "write it as a layer of your own, like BatchNormalization in examples/extending.py, "
    "or use Keras for this model",
    "images": "write it as a layer of your own, like Conv2D in examples/README.md, or use Keras "
    "for this model",
    "activation": "write it and its backward function, like leaky_relu in examples/extending.py, "
    "with from_z=True if its slope does not follow from its result",
    "loss": "write it as a loss of your own, like Huber in examples/extending.py",
    "metric": "write it as a metric of your own, like TopThree in examples/extending.py",
    "counts": "write a metric of your own that defines update_state, result and reset_state, or "
    "compute it from model.predict(x) after training",
    "optimizer": "write it as an optimizer of your own, like RMSprop in examples/extending.py",
    "keras": "use Keras for this model",
    "before": "apply Keras's layer to the data before fit, which takes arrays and batches",
    "branches": "layers here form one stack. Write a layer of your own that contains the branches, "
    "as examples/README.md describes, or use Keras for this model",
    "custom": "give your own parts to load_model. Write: "
    'load_model("model.keras", custom_objects={"Name": Name})',
    "symbols": "arrays are computed at once, and there are no symbolic tensors",
    "types": "all numbers are float32, or float64. Write: tinynet.config.set_floatx('float64')",
    "lines": "Write: model.fit(x, y, verbose=2)",
    "last": "the channels are the last axis. Leave it out",
}

# What Keras has in both `saving` and `utils`, in the form of NAMES.
_OBJECTS = """
CustomObjectScope custom_object_scope get_custom_objects get_registered_name get_registered_object \
register_keras_serializable = a way to register your own parts > custom
deserialize_keras_object = a function for configurations > Write: \
tinynet.layers.deserialize(tinynet.layers.serialize(layer))
serialize_keras_object = a function for configurations > Write: tinynet.layers.serialize(layer)"""

# By Keras's modules, groups `names = what they are > the way on`. A way is a key of WAYS or a text
# of its own, in which {name} is the name; what follows "Write: " is code, which the tests run.
NAMES = {
    "": """
Model = a model of any graph of layers > a model here is a stack of layers. Write: \
Sequential([Input((4,)), Dense(1)])
applications = a module of trained networks > use them in Keras, and train a Dense layer on their \
outputs here
constraints = a module of limits on weights > weights have no limits. Write a callback that \
changes layer.kernel[...]
ops = a module of mathematical functions > use NumPy's functions, or those of \
tinynet.backend.of(x)
random = a module of random numbers > numbers are drawn by NumPy. Write: \
numpy.random.default_rng(1)
preprocessing = a module of data preparation > prepare the data with NumPy, or with Keras, before \
fit
dtype_policies mixed_precision = a module of float types > all numbers are float32, or float64. \
Leave it out
DTypePolicy FloatDTypePolicy = the float type of a layer > all numbers are float32, or float64. \
Leave it out
quantizers = a module for quantization > save with model.save, and quantize the model in Keras
Quantizer = the base class of quantizers > save with model.save, and quantize the model in Keras
distribution = a module for several devices > save with model.save, and go on as \
examples/scale_out.py does
device = a context manager that chooses the device > Write: tinynet.backend.use("numpy")
distillation = a module that trains a model on the outputs of another > train on the predictions \
of the other model, which are an array
export = a module that exports models to other formats > save with model.save, and export the \
model in Keras
tree = a module of functions for nested structures > a model here has one input and one output, an \
array
visualization = a module that draws images and the boxes in them > Write: \
tinynet.plotting.plot_digits(x)
wrappers = a module that wraps models for scikit-learn > save with model.save, and wrap the model \
in Keras
legacy = a module of former formats > save with model.save, which writes the format of Keras 3
src = the module with Keras's source code > read tinynet/README.md for that of tinynet
version = the function that returns the version > Write: tinynet.__version__
KerasTensor = a symbolic tensor > symbols
Function Operation SymbolicScope = a class for symbolic computations > symbols
Variable = a tensor that training changes > a layer's build makes arrays with add_weight, as in \
examples/extending.py
InputSpec = a description of a layer's inputs > check their shape in the build method of your own \
layer
StatelessScope = a context manager for stateless code > objects keep their state. Write: \
copy.deepcopy(model)
name_scope = a context manager for the prefixes of names > layers get their names themselves. \
Write: Dense(3, name="first")
RematScope remat = a way to save memory > layers always keep what backward needs. Write: \
model.fit(x, y, 16)
""",
    "activations": """
leaky_relu = an activation function > it is in examples/extending.py, with its backward function
celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh log_sigmoid mish \
relu6 selu silu soft_shrink softplus softsign sparse_plus sparse_sigmoid squareplus swish \
tanh_shrink threshold = an activation function > activation
glu sparsemax = an activation function that is not elementwise > layer
""",
    "backend": """
epsilon set_epsilon = the setting of the small number in losses > it is always that of Keras. \
Write: 1e-7
image_data_format set_image_data_format = the setting of the order of axes > last
get_uid = a counter for names > layers get their names themselves. Write: Dense(3, name="first")
is_float_dtype = a check of a dtype > Write: numpy.issubdtype(x.dtype, numpy.floating)
is_int_dtype = a check of a dtype > Write: numpy.issubdtype(x.dtype, numpy.integer)
result_type = a function of dtypes > Write: numpy.result_type(x, y)
standardize_dtype = a function of dtypes > Write: numpy.dtype("float32").name
is_keras_tensor = a check for symbolic tensors > symbols
""",
    "callbacks": """
CSVLogger = a callback that writes the history to a file > Write: history = model.fit(x, y); \
numpy.savetxt("log.csv", numpy.transpose([*history.history.values()]), \
header=",".join(history.history), delimiter=",", comments="")
TensorBoard = a callback that writes logs for TensorBoard > Write: model.fit(x, y, \
callbacks=[tinynet.callbacks.LivePlot()])
ProgbarLogger = the callback that prints progress > Write: model.fit(x, y, verbose=1)
CallbackList = a list of callbacks > Write: model.fit(x, y, callbacks=[History(), \
TerminateOnNaN()])
RemoteMonitor = a callback that sends logs to a server > Write: LambdaCallback(on_epoch_end=lambda \
n, logs: ...)
SwapEMAWeights = a callback that uses averaged weights > Write a callback that averages \
model.get_weights()
OrbaxCheckpoint = a callback that saves checkpoints with Orbax > Write: BackupAndRestore("backup")
""",
    "config": """
epsilon set_epsilon = the setting of the small number in losses > it is always that of Keras. \
Write: 1e-7
image_data_format set_image_data_format = the setting of the order of axes > last
set_backend = the setting of the array library > Write: tinynet.backend.use("numpy")
dtype_policy set_dtype_policy = the setting of the float type > types
disable_flash_attention enable_flash_attention is_flash_attention_enabled = a setting of attention \
> there is no attention here. Leave it out
disable_interactive_logging enable_interactive_logging is_interactive_logging_enabled = a setting \
of the progress display > lines
disable_traceback_filtering enable_traceback_filtering is_traceback_filtering_enabled = a setting \
of tracebacks > errors here have no frames to filter out. Leave it out
enable_unsafe_deserialization = a setting that lets files run code > loading never runs code. \
Write: load_model("model.keras", custom_objects={"Name": Dense})
is_nnx_enabled = a setting of JAX > nothing is compiled by JAX here. Leave it out
max_epochs set_max_epochs = a limit for every fit > Write: model.fit(x, y, epochs=1)
max_steps_per_epoch set_max_steps_per_epoch = a limit for every fit > Write: model.fit(x[:320], \
y[:320])
""",
    "datasets": """
boston_housing california_housing cifar10 cifar100 = a data set > take it from Keras itself, with \
from keras.datasets import {name}: its arrays can be data here
imdb reuters = a data set of texts > take it from Keras itself, with from keras.datasets import \
{name}, and cut or fill its rows to one length
""",
    "initializers": """
Identity IdentityInitializer identity = the identity matrix > an array is an initializer. Write: \
Dense(4, kernel_initializer=numpy.eye(4))
LecunNormal lecun_normal = an initializer > Write: VarianceScaling(1, "fan_in", \
"truncated_normal")
LecunUniform lecun_uniform = an initializer > Write: VarianceScaling(1, "fan_in", "uniform")
Orthogonal OrthogonalInitializer orthogonal = an initializer > an array is an initializer, too. \
Write: Dense(4, kernel_initializer=numpy.linalg.qr(numpy.random.normal(size=(4, 4)))[0])
STFT STFTInitializer stft = an initializer for sound > keras
""",
    "layers": """
Conv2D Convolution2D = a convolution > Conv2D in examples/README.md is that, with kernels of 3 × 3 \
and without a bias
Conv1D Conv1DTranspose Conv2DTranspose Conv3D Conv3DTranspose Convolution1D Convolution1DTranspose \
Convolution2DTranspose Convolution3D Convolution3DTranspose DepthwiseConv1D DepthwiseConv2D \
SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D = a convolution > \
images
MaxPool2D MaxPooling2D = a pooling layer > MaxPooling2D in examples/README.md is that, for 2 × 2
AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D \
AdaptiveMaxPooling2D AdaptiveMaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D \
AvgPool1D AvgPool2D AvgPool3D GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D \
GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D \
GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D MaxPool1D MaxPool3D MaxPooling1D \
MaxPooling3D = a pooling layer > images
Bidirectional ConvLSTM1D ConvLSTM2D ConvLSTM3D GRU GRUCell LSTM LSTMCell RNN SimpleRNN \
SimpleRNNCell StackedRNNCells = a recurrent layer > keras
TimeDistributed = a layer that applies another to each step > Dense does that by itself. Write: \
Dense(3)
AdditiveAttention Attention GroupQueryAttention MultiHeadAttention = an attention layer > keras
Embedding ReversibleEmbedding = a layer of vectors for words > keras
Masking = a layer that marks steps to ignore > no layer here has masks. Use Keras for this model
BatchNormalization = a normalization layer > it is in examples/extending.py, for inputs of one \
axis
GroupNormalization LayerNormalization RMSNormalization SpectralNormalization UnitNormalization = a \
normalization layer > layer
Normalization = a layer that shifts and scales data > Write: x = (x - x.mean(axis=0)) / \
x.std(axis=0)
Rescaling = a layer that scales data > Write: x = x / 255
Reshape = a layer that changes the shape > reshape x before fit, or write it as a layer of your \
own that defines compute_output_shape
Cropping1D Cropping2D Cropping3D Permute RepeatVector UpSampling1D UpSampling2D UpSampling3D \
ZeroPadding1D ZeroPadding2D ZeroPadding3D = a layer that changes the shape > images
ReLU = an activation layer > Write: Activation("relu")
Softmax = an activation layer > Write: Activation("softmax")
LeakyReLU = an activation layer > Activation(leaky_relu) is that, with slope 0.2, and leaky_relu \
of examples/extending.py
ELU = an activation layer > Activation takes a function of your own, like leaky_relu in \
examples/extending.py
PReLU = an activation layer with weights > layer
Identity = a layer that returns its input > Write: Activation("linear")
Lambda = a layer made of a function > Activation takes a function and its backward function, like \
leaky_relu in examples/extending.py
EinsumDense = a Dense layer for any axes > Dense works along the last axis. For others, use Keras \
for this model
AlphaDropout GaussianDropout SpatialDropout1D SpatialDropout2D SpatialDropout3D = a kind of \
dropout > Dropout is the nearest. Write: Dropout(0.2)
GaussianNoise = a layer that adds noise > layer
ActivityRegularization = a penalty on outputs > penalties here are on weights. Write: Dense(3, \
kernel_regularizer="l2")
Add Average Concatenate Dot Maximum Minimum Multiply Subtract = a layer with several inputs > \
branches
add average concatenate dot maximum minimum multiply subtract = a function of several symbolic \
inputs > branches
AugMix AutoContrast ContrastLimitedAdaptiveHistogramEqualization CutMix Equalization \
MaxNumBoundingBoxes MixUp RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter \
RandomContrast RandomCrop RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur \
RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation \
RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom Solarization = a layer \
that changes images at random > before
CategoryEncoding CenterCrop Discretization HashedCrossing Hashing IntegerLookup MelSpectrogram \
Pipeline Resizing STFTSpectrogram StringLookup TextVectorization = a layer that prepares data > \
before
FlaxLayer JaxLayer TFSMLayer TorchModuleWrapper = a layer around a part of another library > keras
Wrapper = a layer around another layer > a layer may have others as attributes, as \
examples/README.md says
InputSpec = a description of a layer's inputs > check their shape in the build method of your own \
layer
""",
    "losses": """
Huber huber = a loss > it is in examples/extending.py, with its gradient
KLDivergence kl_divergence = a loss > its gradient is that of "categorical_crossentropy". Write: \
CategoricalCrossentropy()
BinaryFocalCrossentropy CTC CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy \
CategoricalHinge Circle CosineSimilarity Dice Hinge LogCosh MeanAbsolutePercentageError \
MeanSquaredLogarithmicError Poisson SquaredHinge Tversky binary_focal_crossentropy \
categorical_focal_crossentropy categorical_generalized_cross_entropy categorical_hinge circle \
cosine_similarity ctc dice hinge log_cosh mean_absolute_percentage_error \
mean_squared_logarithmic_error poisson squared_hinge tversky = a loss > loss
""",
    "metrics": """
Precision = a metric > Write: p = model.predict(x)[:, 0] > 0.5; \
precision = (p * y.reshape(-1)).sum() / p.sum()
Recall = a metric > Write: p = model.predict(x)[:, 0] > 0.5; recall \
= (p * y.reshape(-1)).sum() / y.sum()
F1Score = a metric > Write: p = model.predict(x)[:, 0] > 0.5; f1 = \
2 * (p * y.reshape(-1)).sum() / (y.sum() + p.sum())
AUC BinaryIoU ConcordanceCorrelation FBetaScore FalseNegatives FalsePositives IoU MeanIoU \
OneHotIoU OneHotMeanIoU PearsonCorrelation PrecisionAtRecall R2Score RecallAtPrecision \
SensitivityAtSpecificity SpecificityAtSensitivity TrueNegatives TruePositives \
concordance_correlation pearson_correlation = a metric > counts
RootMeanSquaredError = a metric > it is the root of MeanSquaredError. Write: \
((model.predict(x)[:, 0] - y.reshape(-1)) ** 2).mean() ** 0.5
TopKCategoricalAccuracy top_k_categorical_accuracy = a metric > TopThree in examples/extending.py \
is that, for k = 3
SparseTopKCategoricalAccuracy sparse_top_k_categorical_accuracy = a metric > Write: \
(numpy.argsort(model.predict(x))[:, -3:] == y.reshape(-1, 1)).any(axis=1).mean()
Mean = a mean of numbers > Write: numpy.mean(x)
Sum = a sum of numbers > counts
MeanMetricWrapper = a metric made of a function > a metric may be a function. Write: \
model.compile("sgd", "mse", metrics=[lambda y_true, y_pred: abs(y_true - y_pred).mean(axis=-1)])
CategoricalHinge CosineSimilarity Hinge KLDivergence LogCoshError MeanAbsolutePercentageError \
MeanSquaredLogarithmicError Poisson SquaredHinge binary_focal_crossentropy \
categorical_focal_crossentropy categorical_hinge hinge huber kl_divergence log_cosh \
mean_absolute_percentage_error mean_squared_logarithmic_error poisson squared_hinge = a metric > \
metric
""",
    "models": """
Model = a model of any graph of layers > a model here is a stack of layers. Write: \
Sequential([Input((4,)), Dense(1)])
clone_model = a function that copies a model > Write: Sequential.from_config(model.get_config())
""",
    "optimizers": """
AdamW = an optimizer > it is Adam with weight decay. Write: Adam(weight_decay=0.004)
Adadelta Adagrad Adamax Ftrl Lion Nadam = an optimizer > optimizer
Adafactor Lamb Muon = an optimizer that treats each weight matrix as a whole > keras
ScheduleFreeAdamW = an optimizer with averaged weights > keras
LossScaleOptimizer = an optimizer for 16-bit numbers > float32 needs no scaled loss. Leave it out
MultiOptimizer OptimizerMap = an optimizer that contains several > keras
legacy = a module of former optimizers > Write: Adam(learning_rate=0.001)
""",
    "optimizers.schedules": """
CosineDecay = a schedule > CosineDecay in examples/extending.py is that, by epochs. Write: \
LearningRateScheduler(lambda epoch: 0.01 * (1 + math.cos(math.pi * epoch / 10)) / 2)
CosineDecayRestarts = a schedule > with periods of equal length. Write: \
LearningRateScheduler(lambda epoch: 0.01 * (1 + math.cos(math.pi * (epoch % 10) / 10)) / 2)
InverseTimeDecay = a schedule > Write: LearningRateScheduler(lambda epoch: 0.01 / (1 + 0.5 * \
epoch))
PiecewiseConstantDecay = a schedule > Write: LearningRateScheduler(lambda epoch: 0.01 if epoch < 5 \
else 0.001)
PolynomialDecay = a schedule > Write: LearningRateScheduler(lambda epoch: 0.01 * max(0, 1 - epoch \
/ 10))
""",
    "regularizers": """
L1 l1 = a penalty on the size of weights > it is in examples/README.md
L1L2 l1_l2 = a penalty on the size of weights > write it like L1 in examples/README.md
OrthogonalRegularizer orthogonal_regularizer = a penalty on weights > write it like L1 in \
examples/README.md
""",
    "saving": _OBJECTS
    + """
KerasFileEditor = an editor of files > edit the file in Keras, and open it here. Write: \
load_model("model.keras")
""",
    "utils": _OBJECTS
    + """
disable_interactive_logging enable_interactive_logging is_interactive_logging_enabled = a setting \
of the progress display > lines
Progbar = a progress display > Write: model.fit(x, y, verbose=1)
model_to_dot plot_model = a function that draws a model > Write: \
tinynet.plotting.plot_network(model)
normalize = a function that scales rows > Write: x / numpy.linalg.norm(x, axis=-1, keepdims=True)
pad_sequences = a function that makes rows of equal length > Write: numpy.array([([0] * 9 + \
row)[-9:] for row in rows])
split_dataset = a function that splits data > Write: model.fit(x, y, validation_split=0.1)
get_file = a function that downloads a file > Write: urllib.request.urlretrieve(url, "data.npz")
img_to_array = a function that turns an image into an array > Write: numpy.asarray(image, \
"float32")
array_to_img = a function that turns an array into an image > Write: \
PIL.Image.fromarray(numpy.uint8(x))
load_img = a function that reads an image > Write: numpy.asarray(PIL.Image.open("image.png"))
save_img = a function that writes an image > Write: \
PIL.Image.fromarray(numpy.uint8(x)).save("image.png")
audio_dataset_from_directory image_dataset_from_directory text_dataset_from_directory = a function \
that reads files as they are needed > read them in a PyDataset, like Batches in \
examples/README.md
timeseries_dataset_from_array = a function that cuts series into windows > Write: \
numpy.lib.stride_tricks.sliding_window_view(x, 3, axis=0).swapaxes(1, 2)
pack_x_y_sample_weight unpack_x_y_sample_weight = a function for the parts of a batch > Write: x, \
y = batch
FeatureSpace = a preparation of the columns of a table > apply it in Keras before fit, which takes \
NumPy arrays
Config = a set of named values > Write: dict(units=3)
bounding_boxes = a module for the boxes in images > keras
legacy = a module of former functions > save with model.save, which writes the format of Keras 3
get_source_inputs is_keras_tensor = a function for symbolic tensors > symbols
standardize_dtype = a function of dtypes > Write: numpy.dtype("float32").name
""",
}
