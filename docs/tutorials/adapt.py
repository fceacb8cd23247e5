# %% [markdown]
# # Adapt a ViT to six bands
#
# A vision transformer of timm knows red, green and blue. Here DEFLECT adapts one to six bands of Sentinel-2 and it
# learns to tell three kinds of fields apart that look the same in colour. It runs in less than a minute on two CPU
# cores.
#
# The images are **simulated** and the ViT has random weights, so that the page needs no download: it shows how the
# library is used, not how good the method is.

# %%
import matplotlib.pyplot as plt
import timm
import torch
import torch.nn.functional as F

import deflect

# %% [markdown]
# ## Images: reflectance with named bands
#
# `adapt` takes reflectance, about 0 to 1, with channels in the order of a band set. The three kinds of fields have
# the same visible bands; they differ in near infrared (B08) and short-wave infrared (B11, B12).

# %%
bands = deflect.bandset("sentinel2", ["B02", "B03", "B04", "B08", "B11", "B12"])
fields = ["moist crop", "dry crop", "bare soil"]
typical = torch.tensor(
    [
        [0.05, 0.08, 0.07, 0.40, 0.18, 0.09],
        [0.05, 0.08, 0.07, 0.32, 0.27, 0.16],
        [0.05, 0.08, 0.07, 0.22, 0.32, 0.27],
    ]
)


def simulate(count):
    labels = torch.arange(count) % len(fields)
    brightness = 1 + 0.2 * torch.randn(count, 1, 1, 1)
    texture = 1 + 0.3 * F.interpolate(torch.randn(count, 6, 16, 16), 64, mode="bilinear")
    return (typical[labels, :, None, None] * brightness * texture).clamp(0, 1), labels


torch.manual_seed(0)
images, labels = simulate(240)
test_images, test_labels = simulate(120)

figure, axes = plt.subplots(2, 3, figsize=(7, 4.8), layout="compressed")
for column, name in enumerate(fields):
    for row, channels in enumerate(([2, 1, 0], [4, 3, 2])):
        picture = images[column, channels].permute(1, 2, 0) / (0.2, 0.6)[row]
        axes[row, column].imshow(picture.clamp(0, 1))
        axes[row, column].axis("off")
    axes[0, column].set_title(name)
figure.suptitle("in colour (top); B11, B08, B04 as red, green, blue (bottom)")
plt.show()

# %% [markdown]
# ## Adapt and train
#
# `adapt` copies the ViT and freezes it. `calibrate` computes what DEFLECT standardises its spectral descriptors with;
# methods that widen the patch embedding, such as LoRA, need `statistics=` of the bands instead. `add_head` adds a
# classifier. The loop is an ordinary one.

# %%
# pretrained=True would download weights
vit = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=0)


def train(method, epochs=6):
    torch.manual_seed(0)
    adapted = deflect.adapt(vit, method, bands)
    adapted.calibrate(images.split(60))
    model = deflect.add_head(adapted, "classification", len(fields))
    tuned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(tuned, lr=2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(16):
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            loss = loss + adapted.extra_loss()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.inference_mode():
        predicted = model.eval()(test_images).argmax(1)
    return model, (predicted == test_labels).float().mean().item()


models = {}
for method in ("frozen", "deflect"):
    models[method], accuracy = train(method)
    report = deflect.parameter_report(models[method].adapted)
    print(f"{method}: accuracy {accuracy:.2f}, {report.tuned_percent:.1f} % of the ViT tuned")

# %% [markdown]
# `frozen` sees red, green and blue only, and can do little more than guess. DEFLECT leaves the ViT as it is, too, but
# its attention is deflected by the other bands. On so small a ViT its share of parameters is large; on a ViT-L it is
# [0.2 %](../methods.md#share-of-parameters-tuned).
#
# ## Look inside
#
# How far does each block turn the update of a patch away from what the frozen ViT would have done?

# %%
with torch.inference_mode():
    angle = models["deflect"].adapted.deflection(test_images)["angle"]
print(tuple(angle.shape), "blocks, images, patches")

figure, axis = plt.subplots(figsize=(6, 3), layout="compressed")
for label, name in enumerate(fields):
    axis.plot(angle[:, test_labels == label].mean((1, 2)).rad2deg(), marker="o", label=name)
axis.set(xlabel="block", ylabel="angle (degrees)", ylim=(0, None))
axis.legend()
plt.show()

# %% [markdown]
# ## Save and load
#
# An adapter is a small file without the weights of the ViT. Loaded onto the same ViT, it gives the same features.

# %%
from pathlib import Path

deflect.save_adapter(models["deflect"].adapted, "fields")
again = deflect.load_adapter(vit, "fields").eval()
assert torch.equal(again(test_images), models["deflect"].adapted(test_images))
for path in sorted(Path("fields").iterdir()):
    print(path.name, f"{path.stat().st_size / 1000:.0f} kB")

# %% [markdown]
# ## Next
#
# * [From a scene to a map](../tutorial.md): your GeoTIFFs, real weights, three methods, and a map of a whole scene.
# * [Train in your own loop](../fit.md): Lightning, torchgeo, segmentation.
# * [Methods](../methods.md): what the other names in place of `"deflect"` are.
