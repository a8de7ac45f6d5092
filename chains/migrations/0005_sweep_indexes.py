# SPDX-License-Identifier: Apache-2.0

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('chains', '0004_second_person'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='chain',
            index=models.Index(fields=['status'], name='chain_status'),
        ),
        migrations.AddIndex(
            model_name='chain',
            index=models.Index(condition=models.Q(('is_wanted', False)), fields=['id'], name='chain_unwanted'),
        ),
        migrations.AddIndex(
            model_name='change',
            index=models.Index(fields=['status', 'due_at'], name='change_due'),
        ),
        migrations.AddIndex(
            model_name='condition',
            index=models.Index(condition=models.Q(('kind', 'ready'), models.Q(('status', 'true'), _negated=True)), fields=['chain'], name='condition_not_ready'),
        ),
    ]
