"""Accelerated multi-contrast MRI reconstruction: FSMNet and the methods it is compared with."""
