"""The CAM reductions in float64 NumPy, written from the papers: (map, channel weights)."""

import numpy as np


def grad_cam(a, g):
    """Selvaraju et al. 2017: alpha_k = 1/Z sum_ij g_kij (eq. 1), L = sum_k alpha_k A_k (eq. 2)."""
    n, *spatial, c = a.shape
    cam, weights = np.zeros((n, *spatial)), np.zeros((n, c))
    for i in range(n):
        for k in range(c):
            weights[i, k] = g[i, ..., k].sum() / np.prod(spatial)
            cam[i] += weights[i, k] * a[i, ..., k]
    return cam, weights


def grad_cam_plus_plus(a, g, alpha="paper"):
    """Chattopadhay et al. 2018, eq. 19 with Y = exp(S), whose derivatives hold g, g^2, g^3.

    The factor exp(S) is left out of the weights.

    "normalized": alpha over its sum where the weight is not 0 (the authors' code). "mean": xplique.
    """
    n, *spatial, c = a.shape
    cam, weights = np.zeros((n, *spatial)), np.zeros((n, c))
    for i in range(n):
        for k in range(c):
            total = a[i, ..., k].mean() if alpha == "mean" else a[i, ..., k].sum()
            x = g[i, ..., k]
            below = 2 * x**2 + total * x**3
            share = np.where(below == 0, 0, x**2 / np.where(below == 0, 1, below))
            share = np.where(x > 0, share, 0)
            if alpha == "normalized" and share.sum() != 0:
                share = share / share.sum()
            weights[i, k] = (share * np.maximum(x, 0)).sum()
            cam[i] += weights[i, k] * a[i, ..., k]
    return cam, weights


def x_grad_cam(a, g, epsilon=1e-7):
    """Fu et al. 2020, eq. 8: w_k = sum_ij A_kij / sum A_k * g_kij. Respond-CAM is the same."""
    n, *spatial, c = a.shape
    cam, weights = np.zeros((n, *spatial)), np.zeros((n, c))
    for i in range(n):
        for k in range(c):
            x = a[i, ..., k]
            weights[i, k] = (x / (x.sum() + epsilon) * g[i, ..., k]).sum()
            cam[i] += weights[i, k] * x
    return cam, weights


def hires_cam(a, g):
    """Draelos and Carin 2020, eq. 4: sum_k g_k (elementwise) A_k."""
    return np.einsum("n...k,n...k->n...", a, g), None


def layer_cam(a, g):
    """Jiang et al. 2021: w_kij = relu(g_kij) (eq. 5), M = sum_k w_kij A_kij (eqs. 6 and 7)."""
    return np.einsum("n...k,n...k->n...", a, np.where(g > 0, g, 0)), None


def weighted_cam(a, weights):
    """Zhou et al. 2016, eq. 2: M = sum_k w_k A_k."""
    return np.einsum("n...k,nk->n...", a, weights), None


def eigen_cam(a):
    """Muhammad and Yeasin 2020, eq. 4: A V_1 of the singular vectors of A, positions centred."""
    cam = np.zeros(a.shape[:-1])
    for i, maps in enumerate(a):
        x = maps.reshape(-1, maps.shape[-1])
        x = x - x.mean(0)
        along = x @ np.linalg.svd(x, full_matrices=False)[2][0]
        cam[i] = (along * np.sign(along[np.argmax(np.abs(along))])).reshape(maps.shape[:-1])
    return cam


TWINS = {
    "grad_cam": grad_cam,
    "grad_cam_plus_plus": grad_cam_plus_plus,
    "x_grad_cam": x_grad_cam,
    "hires_cam": hires_cam,
    "layer_cam": layer_cam,
    "weighted_cam": weighted_cam,
}
