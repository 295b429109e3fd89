"""References for the reference model: a training step at a size, and steps of Adam."""
import sys

from network import IMAGENET_MEAN, IMAGENET_STD, MODEL_MARGIN, Margins, Network, NoMargins
from network import converted, image_input, tensors_of, weights_of
from reference_file import F, torch, write_safetensors

HEADS = {"age": (256, 9), "gender": (128, 2), "race": (256, 7)}  # hidden features, classes


def forward_model(net, x, settle=False):
    """Runs the reference model without dropout; returns the logits of each head.

    settle: redraws, layer by layer, the weights of every channel (hidden feature) that has a value near a kink.
    """

    def unit(x, conv, bn, channels, kernel=3, stride=1, shortcut=None, pool=False):
        """Convolution, batch normalisation, addition of the shortcut, ReLU and max-pooling."""

        def normalised(rows=slice(None)):
            y = F.conv2d(x, net.parameters[conv + ".weight"][rows], None, stride, kernel // 2)
            weight, offset = (net.parameters[bn + kind][rows] for kind in (".weight", ".bias"))
            y = F.batch_norm(y, None, None, weight, offset, True)
            return y if shortcut is None else y + shortcut[:, rows]

        net.draw_unit(conv, bn, channels, x.shape[1], kernel)
        if settle:
            net.settle(conv + ".weight", normalised, pool)
        y = net.margins.relu(normalised())
        return net.margins.max_pool(y, 2, 2, 0) if pool else y

    x = unit(x, "stem.conv", "stem.bn", 64, 7, 2)
    for block, (channels, residuals) in enumerate([(64, 1), (128, 1), (256, 2)], 1):
        scope = f"block{block}."
        x = unit(x, scope + "conv", scope + "bn", channels, pool=True)
        for i in range(residuals):
            inner = f"{scope}residual.{i}."
            y = unit(x, inner + "conv1", inner + "bn1", channels)
            x = unit(y, inner + "conv2", inner + "bn2", channels, shortcut=x)
    x = x.flatten(1)
    logits = {}
    for name, (hidden, classes) in HEADS.items():
        scope = f"heads.{name}."
        y = net.linear(x, scope + "hidden", hidden)
        if settle:
            weight, offset = (net.parameters[scope + "hidden" + kind] for kind in (".weight", ".bias"))
            hidden_rows = lambda rows: F.linear(x, weight[rows], offset[rows])[:, :, None, None]
            net.settle(scope + "hidden.weight", hidden_rows, False)
            y = net.linear(x, scope + "hidden", hidden)
        logits[name] = net.linear(net.margins.relu(y), scope + "logits", classes)
    return logits


def model_sample(net, batch, size):
    pixels = torch.randint(0, 256, (batch, size, size, 3), generator=net.generator)
    labels = [torch.randint(0, classes, (batch,), generator=net.generator) for _, classes in HEADS.values()]
    return pixels, labels


def model_loss(net, pixels, labels):
    logits = forward_model(net, image_input(pixels, net.dtype, IMAGENET_MEAN, IMAGENET_STD))
    return logits, sum(F.cross_entropy(value, y) for value, y in zip(logits.values(), labels))


def float32_errors(net, pixels, labels, gradients):
    """The float32 error of PyTorch's own gradients: {rms, largest}, as a fraction of the gradient's rms."""
    small = converted(net, torch.float32)
    _, loss = model_loss(small, pixels, labels)
    errors = {}
    rounded = torch.autograd.grad(loss, list(small.parameters.values()))
    for name, exact, value in zip(net.parameters, gradients, rounded):
        difference, scale = value.to(torch.float64) - exact, exact.square().mean().sqrt()
        error = torch.stack([difference.square().mean().sqrt(), difference.abs().max()])
        errors[f"float32_error.{name}"] = error / scale
    return errors


def make_model(folder, size, batch):
    """Writes logits, loss and gradients of a training step, in float64, and the float32 error of the gradients."""
    net = Network(size)
    pixels, labels = model_sample(net, batch, size)
    x = image_input(pixels, net.dtype, IMAGENET_MEAN, IMAGENET_STD)
    with torch.no_grad():
        net.margins = NoMargins()
        forward_model(net, x, settle=True)
    net.margins = Margins()
    logits, loss = model_loss(net, pixels, labels)
    if not net.margins.least > MODEL_MARGIN:
        sys.exit(f"reference model at {size}: a value is {net.margins.least} from a kink")
    gradients = torch.autograd.grad(loss, list(net.parameters.values()))
    tensors = tensors_of(net, pixels, labels, logits, loss, gradients)
    tensors.update(float32_errors(net, pixels, labels, gradients))
    write_safetensors(folder / f"model{size}.safetensors", tensors, {"margin": repr(net.margins.least)})


def adam_losses(net, samples, dtype, threads, learning_rate):
    torch.set_num_threads(threads)
    net = converted(net, dtype)
    optimizer = torch.optim.Adam(list(net.parameters.values()), lr=learning_rate)
    losses = []
    for pixels, labels in samples:
        optimizer.zero_grad()
        _, loss = model_loss(net, pixels, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


def make_adam(folder, size=64, batch=4, steps=20, learning_rate=1e-4):
    """Writes the losses of steps of Adam, in float64 and in float32 on 1 and on 2 threads."""
    net = Network(7)
    net.margins = NoMargins()
    samples = [model_sample(net, batch, size) for _ in range(steps)]
    with torch.no_grad():
        model_loss(net, *samples[0])
    tensors = {"pixels": torch.stack([p for p, _ in samples]),
               "labels": torch.stack([torch.stack(y) for _, y in samples]),
               "learning_rate": torch.tensor([learning_rate]), **weights_of(net)}
    tensors["losses"] = adam_losses(net, samples, torch.float64, 2, learning_rate)
    for threads in (1, 2):
        tensors[f"losses.float32.threads{threads}"] = adam_losses(net, samples, torch.float32, threads, learning_rate)
    write_safetensors(folder / "adam.safetensors", tensors, {})
