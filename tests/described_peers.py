# SPDX-License-Identifier: MIT
"""Stand-ins for FlashRNN and haste, on the CPU: what their documentation and sources say of arguments and layouts."""


def lstm_by_flashrnn(torch):
    """flashrnn() as its documentation has it: (B,T,G,1,H), (G,1,H,H) new by previous, (G,1,H); gates i f z o."""

    def flashrnn(from_x, R, b, function, backend, dtype):
        assert (function, backend) == ("lstm", "cuda_fused")
        B, T, G, N, H = from_x.shape
        assert (G, N, R.shape, b.shape) == (4, 1, (4, 1, H, H), (4, 1, H))
        h = c = torch.zeros(B, H)
        states = []
        for t in range(T):
            pre = from_x[:, t, :, 0] + torch.einsum("gdp,bp->bgd", R[:, 0], h) + b[:, 0]
            i, f, z, o = pre.unbind(1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(z)
            h = torch.sigmoid(o) * torch.tanh(c)
            states.append(torch.stack([h, c]))
        return torch.stack(states, 2)[:, :, :, None], None

    return flashrnn


def haste_layer(torch, cell, first):
    """haste's layers as its sources have them: (I,G*H) kernels, gates i g f o or z r n; y has `first` rows before T."""

    class Layer(torch.nn.Module):
        def __init__(self, I, H):  # noqa: E741
            super().__init__()
            G = 4 if cell == "lstm" else 3
            for name, shape in {
                "kernel": (I, G * H),
                "recurrent_kernel": (H, G * H),
                "bias": (G * H,),
            }.items():
                setattr(self, name, torch.nn.Parameter(torch.empty(shape)))
            if cell == "gru":
                self.recurrent_bias = torch.nn.Parameter(torch.empty(G * H))
            self.H = H

        def forward(self, x):
            h = c = torch.zeros(x.shape[1], self.H)
            states = [h] * first
            for x_t in x:
                p, q = x_t @ self.kernel + self.bias, h @ self.recurrent_kernel
                if cell == "lstm":
                    i, g, f, o = (p + q).chunk(4, 1)
                    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                    h = torch.sigmoid(o) * torch.tanh(c)
                else:
                    (pz, pr, pn), (qz, qr, qn) = p.chunk(3, 1), (q + self.recurrent_bias).chunk(3, 1)
                    z = torch.sigmoid(pz + qz)
                    h = z * h + (1 - z) * torch.tanh(pn + torch.sigmoid(pr + qr) * qn)
                states.append(h)
            return torch.stack(states), None

    return Layer
